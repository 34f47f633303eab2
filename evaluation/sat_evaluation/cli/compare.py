"""`sat compare`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_evaluation.cli.options import add_debug, add_import

if TYPE_CHECKING:
    from sat_evaluation.results.chosen_pairs import Arms
    from sat_evaluation.results.conclusions import Conclusions

_COMPARE = (
    "Arms on the same test images, by paired tests: those of a study, two arms of it, or the same arms of two runs. "
    "Of the folder of `sat reproduce`, our numbers beside the published ones."
)


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser(
        "compare", help="arms by paired tests; reproduced numbers beside the published ones", description=_COMPARE
    )
    command.add_argument(
        "folder",
        type=Path,
        nargs="+",
        metavar="RUN | ARM",
        help="RUN; RUN RUN; RUN ARM ARM, names or patterns; folders of two arms; or --out of `sat reproduce`",
    )
    command.add_argument("--accuracy", choices=("robust", "clean"), default="robust", help="what is compared (robust)")
    command.add_argument("--out", type=Path, metavar="FILE", help="also into a file that ends in .csv or .json")
    add_import(command)
    add_debug(command)
    command.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sat_core.run_folder import ReproductionFolder, RunFolder
    from sat_evaluation.cli.comparison_table import print_comparison
    from sat_evaluation.cli.pairs_table import print_conclusions, print_shares
    from sat_evaluation.results.conclusion_files import check_suffix, write_conclusions

    if arguments.out is not None:
        check_suffix(arguments.out)  # its errors come before anything is read
    first = arguments.folder[0]
    if len(arguments.folder) == 1 and not RunFolder(first).has_begun and not _is_arm(first):
        print_comparison(ReproductionFolder(first), out=arguments.out)
        return 0
    made = _conclusions(arguments.folder, arguments.accuracy)
    console = Console()
    if not made.comparisons:
        print("no pairs: compared are arms with the baselines, and with others of the same |A|; name two: RUN ARM ARM")
    print_conclusions(made, console, most=len(made.comparisons))
    print_shares(made.shares, console)
    if arguments.out is not None:
        write_conclusions(arguments.out, made)
        print(f"{arguments.out}: {len(made.comparisons)} pairs")
    return 0


def _is_arm(path: Path) -> bool:
    from sat_core.run_folder import RunFolder

    here = path.resolve()
    return RunFolder(here.parent.parent).has_begun and RunFolder(here.parent.parent).unit(here.name).path == here


def _conclusions(paths: list[Path], measure: str) -> Conclusions:
    from sat_core.errors import SpecError
    from sat_core.run_folder import RunFolder, one_run
    from sat_evaluation.results.chosen_pairs import compare_arms, compare_runs, matched_arms
    from sat_evaluation.results.conclusions import conclude

    # an arm has a spec of its own, as a run has
    arms = [_arm(path) for path in paths if _is_arm(path)]
    runs = [path for path in paths if not _is_arm(path) and RunFolder(path).has_begun]
    names = [str(path) for path in paths if not _is_arm(path) and path not in runs]
    shape = len(runs), len(arms), len(names)
    if shape == (1, 0, 0):
        run = _finished(RunFolder(paths[0]))
        return conclude(run.rows, run.folder, measure=measure)
    if shape == (2, 0, 0):
        return compare_runs(*(_finished(RunFolder(path)) for path in runs), measure=measure)
    if shape == (0, 2, 0):
        return compare_arms(*arms, measure=measure)
    if shape[:2] == (1, 0) and len(names) <= 2:
        run = _finished(RunFolder(runs[0]))
        chosen = [matched_arms(run, name) for name in names]
        return compare_arms(chosen[0], chosen[1] if len(chosen) > 1 else run, measure=measure)
    if names and not runs:
        one_run(Path(names[0]))  # says what it is instead
    raise SpecError(
        "sat compare: expected RUN, RUN RUN, RUN ARM, RUN ARM ARM, or the folders of two arms; got "
        f"{len(runs)} runs, {len(arms)} folders of arms and {len(names)} other names"
    )


def _arm(path: Path) -> Arms:
    from sat_core.run_folder import RunFolder
    from sat_evaluation.results.chosen_pairs import matched_arms

    here = path.resolve()
    return matched_arms(_finished(RunFolder(here.parent.parent), here.name), here.name)


def _finished(folder: Any, *arms: str) -> Arms:
    from sat_evaluation.results.chosen_pairs import Arms
    from sat_evaluation.run.status import finished_rows

    rows, unfinished = finished_rows(folder, arms)
    if unfinished:
        left = f"{len(unfinished)} of {len(rows) + len(unfinished)} arms are not finished and left out"
        print(f"sat: {left} ({', '.join(unfinished[:3])})", file=sys.stderr)
    return Arms(folder=folder, rows=rows, name=folder.title)
