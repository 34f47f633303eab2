"""`sat reproduce` and `sat compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug, add_running, add_settings, running

_REPRODUCE = "Run the studies behind a figure of the paper, or an experiment around it, and draw it."
_COMPARE = "Our numbers in the folder of `sat reproduce` beside the published ones."


def add(commands: Any) -> None:
    """Their arguments."""
    reproduce = commands.add_parser("reproduce", help="a figure of the paper by one command", description=_REPRODUCE)
    reproduce.add_argument(
        "figures",
        nargs="+",
        metavar="FIGURE",
        help="fig2 to fig8, rs-fgsm, rs-fgsm-transfer, linf, radii, metrics, other-ranking, s-csat, svhn",
    )
    reproduce.add_argument(
        "--scale",
        default="demo",
        help="demo: embedded images, minutes (default); short: CIFAR, 30 epochs; paper: all of it",
    )
    reproduce.add_argument(
        "--protocol", default="authors", help="authors (default): as the published numbers were made; paper: the text"
    )
    reproduce.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="DATA",
        help="these data sets only; cifar10=npz:PATH says what stands for one; another name is a data set of your own",
    )
    add_settings(reproduce, "override a key in all of its studies")
    reproduce.add_argument("--dry-run", action="store_true", help="print the studies and stop")
    reproduce.set_defaults(run=_reproduce)
    add_running(reproduce)
    compare = commands.add_parser("compare", help="reproduced numbers beside the published ones", description=_COMPARE)
    compare.add_argument("folder", type=Path, help="--out of `sat reproduce`")
    compare.set_defaults(run=_compare)
    add_debug(compare)


def _reproduce(arguments: argparse.Namespace) -> int:
    from sat_core.tables import parse_setting
    from sat_evaluation.paper.experiments import parse_data
    from sat_evaluation.paper.reproduce import Reproduction

    data = parse_data(arguments.data, arguments.scale)
    settings = dict(map(parse_setting, arguments.settings))
    asked = [
        Reproduction(figure=name, scale=arguments.scale, protocol=arguments.protocol, data=data, settings=settings)
        for name in dict.fromkeys(arguments.figures)
    ]
    options = running(arguments)
    if arguments.dry_run:
        for one in asked:
            _print(one)
        return 0
    from sat_evaluation.paper.reproduce import reproduce_all

    reproduce_all(asked, Path(arguments.out), **options)
    return 0


def _print(asked: Any) -> None:
    figure = asked.make()
    print(f"# {figure.name}: {figure.title}")
    for panel in figure.panels:
        print(f"\n# {panel.name}: {'the ranking only' if panel.ranking else f'{len(panel.study.arms)} arms'}")
        print(panel.study.dumps())


def _compare(arguments: argparse.Namespace) -> int:
    from sat_evaluation.paper.compare import print_comparison

    print_comparison(arguments.folder)
    return 0
