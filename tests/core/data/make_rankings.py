"""Writes the rankings in this folder with torch, so that they can be read where torch is not: run it in this folder.

Every file holds the same order, `(37 i + 11) mod 101` for i in 0..100. The fixtures were written with torch 2.15 and
numpy 2.4; files of the first format differ from run to run in the key of their storage, which is an address.
"""

from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent
ORDER = (37 * np.arange(101) + 11) % 101


def main() -> None:
    tensor = torch.from_numpy(ORDER)
    table = torch.stack([tensor.flip(0), tensor, tensor], dim=1)
    contents = {
        "tensor": tensor,
        "tensor_int32": tensor.to(torch.int32),
        "tensor_uint8": tensor.to(torch.uint8),
        "tensor_column": table[:, 1],
        "tensor_rest": torch.cat([tensor[:7], tensor])[7:],
        "array": ORDER,
        "array_big_endian": ORDER.astype(">i8"),
        "array_column": np.stack([ORDER, ORDER], axis=1)[:, 0],
    }
    for name, content in contents.items():
        torch.save(content, FOLDER / f"{name}_zip.pth")
        torch.save(content, FOLDER / f"{name}_legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
