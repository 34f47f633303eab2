"""Runs whose arms have the flags of test images that a test wants, without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from toys import result

from sat_core import files
from sat_core.evaluation import MISCLASSIFIED, ROBUST
from sat_core.run_folder import RunFolder
from sat_evaluation.results.rows import Row, collect


def write_arm(
    folder: RunFolder, size: int, robust: np.ndarray, image: np.ndarray | None = None, **options: Any
) -> dict[str, Any]:
    """Write the results and flags of an arm into its folder.

    Args:
        folder: Of the run.
        size: |A| of 1000.
        robust: Which images are right under every attack, bool `(n,)`; the others are broken by the first one, and
            every tenth of them is wrong from the start.
        image: Numbers of the images; 0 to n - 1 by default.
        options: Those of `toys.result`.
    """
    n = len(robust)
    broken = np.where(robust, ROBUST, 0)
    wrong = np.flatnonzero(~robust)[::10]
    broken[wrong] = MISCLASSIFIED
    clean = float((broken != MISCLASSIFIED).mean())
    content = result(size, float(robust.mean()), clean, n=n, **options)
    unit = folder.unit(content["arm"])
    unit.path.mkdir(parents=True)
    files.write_json(unit.results_file, content)
    numbers = np.arange(n) if image is None else image
    files.write_json(unit.split_file, {"report": numbers.tolist(), "members": []})
    label = numbers % 4
    settings = json.dumps({"attacks": [{"name": each["name"]} for each in content["attacks"]["breakdown"]]})
    path = unit.evaluation_file(unit.report_name())
    path.parent.mkdir()
    arrays = {"label": label, "predicted": np.where(broken == MISCLASSIFIED, (label + 1) % 4, label)}
    files.write_npz(path, {**arrays, "broken_by": broken, "settings": np.array(settings)})
    return content


def flags(n: int, share: float, seed: int = 0, *, spread: float = 0.3) -> np.ndarray:
    """Flags of about a share of n images, of which some are hard for all arms."""
    hard = np.random.default_rng(n).random(n)
    return np.argsort(np.argsort(hard + spread * np.random.default_rng((seed, 1)).random(n))) < share * n


def make_run(path: Path, n: int = 400, seeds: int = 1) -> tuple[RunFolder, list[Row]]:
    """A study of both baselines, the hardest and random halves, the latter with several seeds if wanted."""
    folder = RunFolder(path)
    contents = [
        write_arm(folder, 0, flags(n, 0.1, 1)),
        write_arm(folder, 500, flags(n, 0.5, 2)),
        *(write_arm(folder, 500, flags(n, 0.45, 3 + s), strategy="random", seed=s) for s in range(seeds)),
        write_arm(folder, 1000, flags(n, 0.52, 99)),
    ]
    return folder, collect(folder.unit(content["arm"]).results() for content in contents)
