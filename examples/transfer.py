"""Use robust features for another task (S-ESAT). Run it: python examples/transfer.py [FOLDER]

A network is trained on the digits with adversarial examples for a part of them. Then its features are frozen, and a new
head learns whether a digit is even, from clean images.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import sat_core as sat


def save_target(path: Path) -> None:
    """Write another task's data: any .npz with these four arrays will do, at any image size."""
    data = sat.get_dataset("digits")
    arrays = {f"x_{name}": part.images for name, part in (("train", data.train), ("test", data.test))}
    parity = {f"y_{name}": part.labels % 2 for name, part in (("train", data.train), ("test", data.test))}
    np.savez(path, **arrays, **parity)


def main(out: str = "runs/parity", **settings: Any) -> Any:
    """Train the source with 30 % in A, then the head; return the head's results."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    save_target(folder / "parity.npz")
    target = f"npz:{(folder / 'parity.npz').resolve()}"
    keys = {"data": {"name": "digits"}, "subset": {"size": 0.3}, "training": {"epochs": 10, "batch_size": 32}}
    transfer = {"targets": [target], "epochs": 10}
    study = sat.Study(settings={**keys, "attack": {"eps": 0.5}}, transfer=transfer).set(settings)
    results = study.run(folder / "study")
    (head,) = (unit.results() for unit in results.folder.transfer(target).arms)
    print("robust on the digits:", results.arms[0].robust_accuracy)
    print("robust on their parity:", head.robust_accuracy)
    return head


if __name__ == "__main__":
    main(*sys.argv[1:])
