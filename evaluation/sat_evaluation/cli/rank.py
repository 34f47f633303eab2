"""`sat rank`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_evaluation.cli.options import add_computing, add_import, add_settings

if TYPE_CHECKING:
    from sat_core.ranking import Ranking

_RANK = "Train a non-robust classifier and rank the training examples by difficulty (paper, Eq. 3)."
_SHOWN = 10
"""Examples that are printed, hardest first."""


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    rank = commands.add_parser("rank", help="rank the training examples by difficulty", description=_RANK)
    rank.add_argument("model", help="a model of the backend, or package.module:factory")
    rank.add_argument("--data", required=True, help="a data set (`sat data list`)")
    rank.add_argument("--epochs", type=int, default=10, help="passes over the training set (default 10)")
    rank.add_argument("--metric", default="entropy", help="the score that orders them (default entropy)")
    rank.add_argument("--seed", type=int, default=0, help="of weights and order (default 0)")
    rank.add_argument("--out", required=True, help="folder for the ranking; the same command continues there")
    rank.add_argument("--figure", help="draw how far the scores agree, as FIGURE.png and FIGURE.svg")
    add_settings(rank, "override a key of a study file")
    add_import(rank)
    rank.set_defaults(run=_run)
    add_computing(rank)


def _run(arguments: argparse.Namespace) -> int:
    from sat_core.difficulty import extra_metrics
    from sat_core.front_door import rank
    from sat_core.plugins import PLUGINS, load_plugins
    from sat_core.ranking import unused_in_ranking
    from sat_core.run_folder import RunFolder
    from sat_core.tables import parse_setting
    from sat_evaluation.figures.agreement import agreement_figure
    from sat_evaluation.figures.canvas import drawing, save_figure
    from sat_evaluation.run.ranks import refuse_rank

    refuse_rank()
    if arguments.figure:
        # Before the training: it needs matplotlib.
        with drawing(1, 1):
            pass
    # All of them, to compare; a study computes those that its arms need.
    own = dict(map(parse_setting, arguments.settings))
    load_plugins(arguments.imports, "--import")  # their scores are among those
    settings = {PLUGINS: arguments.imports, "ranking.extra": extra_metrics(), **own}
    ranking = rank(
        arguments.model,
        arguments.data,
        epochs=arguments.epochs,
        metric=arguments.metric,
        seed=arguments.seed,
        settings=settings,
        backend=arguments.backend,
        device=arguments.device,
        out=arguments.out,
    )
    if unused := unused_in_ranking(own):
        print(f"warning: a ranking does not use {', '.join(unused)}: it is of a plain training without attacks")
    _print(ranking, arguments.metric)
    order_file = RunFolder(arguments.out).order_file
    ranking.save_order(order_file, arguments.metric)
    if arguments.figure:
        details = f"{arguments.data} · {arguments.model} · {arguments.epochs} epochs · seed {arguments.seed}"
        stem = Path(arguments.figure)
        stem = stem.with_suffix("") if stem.suffix in (".png", ".svg") else stem
        for path in save_figure(agreement_figure(ranking.agreement(), details), stem):
            print(path)
    print(f"{order_file}: the whole order, for ranking.file of a study or sat.read_order() in Python")
    return 0


def _print(ranking: Ranking, metric: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from sat_core.agreement import SHARES, shown_rho
    from sat_evaluation.results.text import percent

    order = ranking.hardest_first(metric)
    shown = ", ".join(map(str, order[:_SHOWN].tolist()))
    print(f"{len(order):,} examples, hardest first: {shown}{', ...' if len(order) > _SHOWN else ''}")
    for line in ranking.warnings(metric):
        print(f"warning: {line}")
    agreement = ranking.agreement()
    print(f"\nagreement with {metric}: Spearman's ρ, and % of the hardest examples in common")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for head in ("score", "ρ", *(f"hardest {percent(share)}" for share in SHARES)):
        table.add_column(head, justify="left" if head == "score" else "right")
    for name, rho, overlaps in agreement.rows(metric):
        table.add_row(name, shown_rho(rho), *(f"{100 * overlap:.0f}" for overlap in overlaps))
    Console().print(table)
    print(f"\nSpearman's ρ of all scores\n{agreement}\n")
