"""A small finished study whose class names are markup, for tests of reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from toys import bands

from sat_core.study import Study
from sat_evaluation.run.studies import run_study

NAMES = ("<script>document.title = 'broken'</script>", '"><img src=x onerror=alert(1)>', "a & b", "Ünïcode 猫")
"""Names of classes that a careless page would run."""


def data(path: Path) -> Path:
    """An .npz data set of four classes in 8 x 8 grey images: 160 to train on and 80 for validation."""
    images, labels = bands(240, 4, (8, 8, 1), np.random.default_rng(0), noise=0.5, light=0.4)
    parts = {"x_train": images[:160], "y_train": labels[:160], "x_test": images[160:], "y_test": labels[160:]}
    np.savez(path, **parts, class_names=np.array(NAMES))
    return path


def study(path: Path, **changes: object) -> Study:
    """Five arms on the data in `path`, a few seconds each. changes: table__key = value."""
    tables: dict[str, dict[str, object]] = {
        "data": {"name": f"npz:{path}"},
        "model": {"name": "small-cnn"},
        "ranking": {"epochs": 3},
        "subset": {"kind": "classes", "strategy": "hardest"},
        "training": {"epochs": 3, "batch_size": 16, "lr": 0.02},
        "evaluation": {
            "attacks": ["apgd-ce", "apgd-t"],
            "selection_attacks": ["apgd-ce"],
            "selection_epochs": [2, 3],
            "selection_share": 16,
            "examples": 40,
        },
        "grid": {"subset.size": [0.0, 0.5, 1.0], "training.seed": [0, 1]},
    }
    for name, value in changes.items():
        table, key = name.split("__")
        tables[table] = {**tables[table], key: value}
    return Study.from_tables(tables)


def finished(folder: Path, **changes: object) -> Path:
    """Run that study; return its folder."""
    run_study(study(data(folder / "data.npz"), **changes), folder / "study")
    return folder / "study"
