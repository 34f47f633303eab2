"""Subset Adversarial Training: what an experiment is, in numpy. Backends know how to compute it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sat_core.arm import run_arm
    from sat_core.backend import get_backend
    from sat_core.data import DataSet, Examples
    from sat_core.datasets import get_dataset
    from sat_core.difficulty import Recorder
    from sat_core.errors import SatError
    from sat_core.job import Job
    from sat_core.order_file import read_order
    from sat_core.ranking import Ranking, run_ranking
    from sat_core.sections import AttackSpec, SubsetSpec, TrainingSpec
    from sat_core.spec import Spec
    from sat_core.splits import Split, make_split, validation_split
    from sat_core.study import Study
    from sat_core.transfer import Source, transfer_spec

__version__ = "0.2.0.dev0"

_HOME = {
    "arm": ("run_arm",),
    "backend": ("get_backend",),
    "data": ("DataSet", "Examples"),
    "datasets": ("get_dataset",),
    "difficulty": ("Recorder",),
    "errors": ("SatError",),
    "job": ("Job",),
    "order_file": ("read_order",),
    "ranking": ("Ranking", "run_ranking"),
    "sections": ("AttackSpec", "SubsetSpec", "TrainingSpec"),
    "spec": ("Spec",),
    "splits": ("Split", "make_split", "validation_split"),
    "transfer": ("Source", "transfer_spec"),
    "study": ("Study",),
}
__all__ = [
    "AttackSpec",
    "DataSet",
    "Examples",
    "Job",
    "Ranking",
    "Recorder",
    "SatError",
    "Source",
    "Spec",
    "Split",
    "Study",
    "SubsetSpec",
    "TrainingSpec",
    "get_backend",
    "get_dataset",
    "make_split",
    "read_order",
    "run_arm",
    "run_ranking",
    "transfer_spec",
    "validation_split",
]


def __getattr__(name: str) -> Any:
    """Public names are imported on first use, so that `import sat_core` costs little."""
    import importlib

    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"sat_core.{module}"), name)
    raise AttributeError(f"module 'sat_core' has no attribute {name!r}")
