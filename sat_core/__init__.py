"""Subset Adversarial Training: most of the robustness of adversarial training at a fraction of its cost.

    import sat_core as sat

    result = sat.train("small-cnn", "digits", subset=0.5, eps=0.5, epochs=30)
    result.robust_accuracy, result.clean_accuracy

Models and data can be your own. PyTorch and TensorFlow compute; what an experiment is, is decided here, in numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sat_core.version import VERSION

if TYPE_CHECKING:
    from sat_core.accuracy import Accuracy
    from sat_core.arm_results import ArmResults
    from sat_core.attack_spec import AttackSpec
    from sat_core.backend import Backend, get_backend
    from sat_core.classifier import Classifier
    from sat_core.data import DataSet, Examples
    from sat_core.datasets import get_dataset
    from sat_core.errors import SatError
    from sat_core.evaluation import Evaluation
    from sat_core.exported import load_model
    from sat_core.front_door import evaluate, rank, train
    from sat_core.front_grid import evaluate_grid
    from sat_core.loss_spec import LossSpec
    from sat_core.order_file import read_order
    from sat_core.outcome import TrainingResult
    from sat_core.own_data import make_dataset
    from sat_core.ranking import Ranking
    from sat_core.recorder import Recorder
    from sat_core.sections import SubsetSpec
    from sat_core.spec import Spec
    from sat_core.splits import Split, make_split
    from sat_core.study import Study
    from sat_core.training_spec import TrainingSpec

__version__ = VERSION

_MODULES = {
    "accuracy": ("Accuracy",),
    "arm_results": ("ArmResults",),
    "attack_spec": ("AttackSpec",),
    "backend": ("Backend", "get_backend"),
    "classifier": ("Classifier",),
    "data": ("DataSet", "Examples"),
    "datasets": ("get_dataset",),
    "errors": ("SatError",),
    "evaluation": ("Evaluation",),
    "exported": ("load_model",),
    "front_door": ("evaluate", "rank", "train"),
    "front_grid": ("evaluate_grid",),
    "loss_spec": ("LossSpec",),
    "order_file": ("read_order",),
    "outcome": ("TrainingResult",),
    "own_data": ("make_dataset",),
    "ranking": ("Ranking",),
    "recorder": ("Recorder",),
    "sections": ("SubsetSpec",),
    "spec": ("Spec",),
    "splits": ("Split", "make_split"),
    "study": ("Study",),
    "training_spec": ("TrainingSpec",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [
    "Accuracy",
    "ArmResults",
    "AttackSpec",
    "Backend",
    "Classifier",
    "DataSet",
    "Evaluation",
    "Examples",
    "LossSpec",
    "Ranking",
    "Recorder",
    "SatError",
    "Spec",
    "Split",
    "Study",
    "SubsetSpec",
    "TrainingResult",
    "TrainingSpec",
    "evaluate",
    "evaluate_grid",
    "get_backend",
    "get_dataset",
    "load_model",
    "make_dataset",
    "make_split",
    "rank",
    "read_order",
    "train",
]


def __getattr__(name: str) -> Any:
    # Names are imported on first use: `import sat_core` takes milliseconds, and the command line starts quickly.
    if name not in _HOME:
        raise AttributeError(f"module 'sat_core' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"sat_core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
