"""`sat reproduce`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sat_evaluation.cli.options import add_running, add_settings, add_yes, confirmation, running

if TYPE_CHECKING:
    from sat_evaluation.paper.panels import Panel, PaperFigure
    from sat_evaluation.plan.units import UnitWork

_REPRODUCE = "Run the studies behind a figure of the paper, or an experiment around it, and draw it."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    reproduce = commands.add_parser("reproduce", help="a figure of the paper by one command", description=_REPRODUCE)
    reproduce.add_argument(
        "figures",
        nargs="+",
        metavar="FIGURE",
        help="fig2 to fig8, rs-fgsm, rs-fgsm-transfer, trades, linf, radii, metrics, other-ranking, s-csat, svhn, "
        "defence, gain, class-entropy, agreement, overfitting",
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
    add_yes(reproduce)
    reproduce.set_defaults(run=_reproduce)
    add_running(reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    from sat_core.tables import parse_setting
    from sat_evaluation.cli.cost_lines import print_cost, whole_plan
    from sat_evaluation.paper.experiments import parse_data
    from sat_evaluation.paper.reproduction import Reproduction

    data = parse_data(arguments.data, arguments.scale)
    settings = dict(map(parse_setting, arguments.settings))
    reproductions = [
        Reproduction(figure=name, scale=arguments.scale, protocol=arguments.protocol, data=data, settings=settings)
        for name in dict.fromkeys(arguments.figures)
    ]
    # before a dry run, which refuses wrong options, too
    options = running(arguments)
    if arguments.dry_run:
        figures = [one.make() for one in reproductions]
        # its errors, as of a data set that does not exist, come before anything is printed
        cost = whole_plan([_units(panel) for figure in figures for panel in figure.panels], arguments)
        for figure in figures:
            _print(figure)
        print()
        print_cost(*cost)
        return 0
    from sat_core.run_folder import ReproductionFolder
    from sat_evaluation.cli.live_view import Terminal
    from sat_evaluation.paper.reproduce import reproduce_all
    from sat_evaluation.run.expected import Expected, is_finished

    out = ReproductionFolder(arguments.out)
    if not arguments.yes:
        studies = [(out.study(panel.name), _units(panel)) for one in reproductions for panel in one.make().panels]
        finished = [unit for folder, units in studies for unit in units if is_finished(folder, unit)]
        left, _ = whole_plan([units for _, units in studies], arguments, finished)
        Expected(left, left).ask(confirmation(arguments))
    reproduce_all(reproductions, out, view=Terminal(), **options)
    return 0


def _units(panel: Panel) -> list[UnitWork]:
    from sat_evaluation.plan.facts import facts_of
    from sat_evaluation.plan.units import study_units

    return study_units(panel.study, facts_of(panel.study.base.data.name), only_ranking=panel.ranking)


def _print(figure: PaperFigure) -> None:
    print(f"# {figure.name}: {figure.title}")
    for panel in figure.panels:
        print(f"\n# {panel.name}: {'the ranking only' if panel.ranking else f'{len(panel.study.arms)} arms'}")
        print(panel.study.dumps())
