"""`sat evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_computing

_EVALUATE = "AutoAttack on a checkpoint, for one or more ε; per-example results go to --out."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    evaluate = commands.add_parser("evaluate", help="AutoAttack on a checkpoint", description=_EVALUATE)
    evaluate.add_argument("checkpoint", help="checkpoint-best of an arm, with or without .safetensors")
    evaluate.add_argument("--data", required=True, help="a data set (`sat data list`); its test part is attacked")
    evaluate.add_argument("--attacks", default="standard", help="standard, plus, or names with commas")
    evaluate.add_argument("--norm", default="", help="L2 or Linf (default: as in training)")
    evaluate.add_argument("--eps", nargs="+", default=[], metavar="E", help="one or more, as 0.5 or 8/255")
    evaluate.add_argument("--examples", type=int, help="how many, in a fixed random order (default: all)")
    evaluate.add_argument(
        "--batch-size",
        type=int,
        help="of the attack; part of the result (default 250; with --engine fast on a GPU, what fits)",
    )
    evaluate.add_argument(
        "--engine",
        choices=("package", "folded", "fast"),
        default="package",
        help="AutoAttack's package, the package on a folded copy of the model, or our own attacks",
    )
    evaluate.add_argument("--model", default="", help="package.module:factory, for a checkpoint of your own model")
    evaluate.add_argument("--threads", type=int, default=1, help="of the CPU (default 1)")
    evaluate.add_argument(
        "--out", type=Path, help="folder for per-example results (default: evaluate, beside the checkpoint)"
    )
    evaluate.set_defaults(run=_evaluate)
    add_computing(evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from sat_evaluation.cli.evaluation_table import print_evaluations
    from sat_evaluation.cli.live_view import Terminal
    from sat_evaluation.run.evaluate import CheckpointEvaluation

    same = ("checkpoint", "data", "attacks", "norm", "examples", "batch_size", "engine", "model", "threads", "out")
    evaluation = CheckpointEvaluation(radii=arguments.eps, **{name: getattr(arguments, name) for name in same})
    with _options_in_errors():
        evaluations, out = evaluation.run(arguments.backend, arguments.device, Terminal())
    print_evaluations(evaluations, out)
    return 0


_OPTIONS = {
    "attack.eps": "--eps",
    "attack.norm": "--norm",
    # its default follows from ε
    "attack.step_size": "--eps",
    "evaluation.attacks": "--attacks",
    "evaluation.examples": "--examples",
    "training.threads": "--threads",
    "training.batch_size": "--batch-size",
}


@contextmanager
def _options_in_errors() -> Iterator[None]:
    """Make errors name the options of the command in place of the keys of a study."""
    from sat_core.errors import SpecError

    try:
        yield
    except SpecError as error:
        text = str(error)
        for key, option in _OPTIONS.items():
            text = text.replace(key, option)
        raise type(error)(text) from error
