"""`sat evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

from sat_evaluation.cli.options import add_computing

_EVALUATE = "AutoAttack on a checkpoint, for one or more ε; per-example results go to --out."


def add(commands: Any) -> None:
    """Its arguments."""
    evaluate = commands.add_parser("evaluate", help="AutoAttack on a checkpoint", description=_EVALUATE)
    evaluate.add_argument("checkpoint", help="checkpoint-best of an arm, with or without .safetensors")
    evaluate.add_argument("--data", required=True, help="a data set (`sat data list`); its test part is attacked")
    evaluate.add_argument("--attacks", default="standard", help="standard, plus, or names with commas")
    evaluate.add_argument("--norm", help="L2 or Linf (default: as in training)")
    evaluate.add_argument("--eps", nargs="+", default=[], metavar="E", help="one or more, as 0.5 or 8/255")
    evaluate.add_argument("--examples", type=int, help="how many, in a fixed random order (default: all)")
    evaluate.add_argument("--batch-size", type=int, default=250, help="of the attack; part of the result (default 250)")
    evaluate.add_argument(
        "--engine",
        choices=("package", "folded", "fast"),
        default="package",
        help="AutoAttack's package, the package on a folded copy of the model, or our own attacks",
    )
    evaluate.add_argument("--model", help="package.module:factory, for a checkpoint of your own model")
    evaluate.add_argument("--threads", type=int, default=1, help="of the CPU (default 1)")
    evaluate.add_argument("--out", help="folder for per-example results (default: evaluate, beside the checkpoint)")
    evaluate.set_defaults(run=_evaluate)
    add_computing(evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from sat_evaluation.cli.checkpoint import evaluate_checkpoint

    evaluate_checkpoint(arguments)
    return 0
