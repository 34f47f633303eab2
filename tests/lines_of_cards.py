"""The lines of a model card that need nothing of ours, as somebody runs them who has none of our packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from sat_core.backend import Backend

NO_PACKAGES_OF_OURS = """
import os, sys
sys.path.insert(0, "")
for name in ("sat_core", "sat_torch", "sat_tensorflow", "sat_datasets", "sat_evaluation"):
    sys.modules[name] = None
import numpy as np
"""
TENSORS = {"torch": "import torch\nimages = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())\n", "tensorflow": ""}
LOGITS = {"torch": "logits.detach().numpy()", "tensorflow": "np.array(logits)"}


def by_lines_of_the_cards(folders: dict[Path, np.ndarray], backend: Backend, elsewhere: Path) -> list[np.ndarray]:
    """Run the lines of cards that need nothing of ours, on images, in a process of their own; returns the logits."""
    code = NO_PACKAGES_OF_OURS
    for folder, images in folders.items():
        blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
        lines = next(block for block in blocks if "from model import" in block)
        assert len([line for line in lines.splitlines() if line.strip()]) <= 5
        np.save(folder / "images.npy", images)
        save = f"np.save('logits.npy', {LOGITS[backend.name]})\n"
        code += f"os.chdir({str(folder)!r})\nsys.modules.pop('model', None)\nimages = np.load('images.npy')\n"
        code += TENSORS[backend.name] + lines + save
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", str(elsewhere)])}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [np.load(folder / "logits.npy") for folder in folders]


def close(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, float(np.abs(expected).max())))
