"""`sat compare`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_evaluation.cli.options import add_debug, add_import

if TYPE_CHECKING:
    from sat_core.run_folder import RunFolder
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
    """Whether it is where an arm of a run has its folder."""
    from sat_core.run_folder import RunFolder

    here = path.resolve()
    return RunFolder(here.parent.parent).has_begun and RunFolder(here.parent.parent).unit(here.name).path == here


def _conclusions(paths: list[Path], measure: str) -> Conclusions:
    from sat_core.errors import SpecError
    from sat_core.run_folder import RunFolder, one_run
    from sat_evaluation.results.chosen_pairs import compare_arms, compare_runs
    from sat_evaluation.results.conclusions import conclude

    # an arm has a spec of its own, as a run has
    arms = [path for path in paths if _is_arm(path)]
    runs = [path for path in paths if path not in arms and RunFolder(path).has_begun]
    names = [path for path in paths if path not in arms and path not in runs]
    if not runs and names:
        one_run(names[0])  # says what it is instead
    whole = {runs[0].resolve()} if len(runs) == 1 else set()
    if whole and {path.resolve().parent.parent for path in arms} <= whole:
        # an arm of the run may be given by its folder, too
        names, arms = [path for path in paths if path not in runs], []
    shape = len(runs), len(arms), len(names)
    if shape == (1, 0, 0):
        run = _finished(RunFolder(runs[0]))
        return conclude(run.rows, run.folder, measure=measure)
    if shape == (2, 0, 0):
        return compare_runs(*(_finished(RunFolder(path)) for path in runs), measure=measure)
    if shape == (0, 2, 0):
        return compare_arms(*map(_arm, arms), measure=measure)
    if shape[:2] == (1, 0) and len(names) <= 2:
        chosen = [_arm(name, RunFolder(runs[0])) for name in names]
        return compare_arms(chosen[0], chosen[1] if len(chosen) > 1 else _finished(RunFolder(runs[0])), measure=measure)
    got = [
        f"{number} {word}{'s' if number > 1 else ''}"
        for number, word in zip(shape, ("run", "folder of an arm", "other name"), strict=True)
        if number
    ]
    raise SpecError(
        "sat compare: expected RUN, RUN RUN, RUN ARM, RUN ARM ARM, or the folders of two arms; got "
        f"{' and '.join(got).replace('folder of an arms', 'folders of arms')}"
    )


def _arm(path: Path, run: RunFolder | None = None) -> Arms:
    """Return the arms that a name or pattern in a run, or the folder of an arm, stands for."""
    from sat_core.errors import RunDirectoryError, SpecError, quoted
    from sat_core.report_arms import matching
    from sat_core.run_folder import RANKING, RunFolder
    from sat_evaluation.run.status import unit_names

    pattern, key = str(path), str(run)
    if run is None or _is_arm(path):
        here = path.resolve()
        run, pattern, key = RunFolder(here.parent.parent), here.name, str(path)
    elif path.name != pattern:  # it has a folder in it, as no arm has
        what = "neither" if path.exists() else "nothing of that name"
        raise SpecError(f"{path}: expected the folder of a run or the name of an arm of {run}, got {what}")
    names = matching([name for name in unit_names(run) if name != RANKING], [pattern], key)
    if not any(run.unit(name).has_results for name in names):
        raise RunDirectoryError(
            f"{key}: {quoted(names[0])} is not finished, and has nothing to compare yet\n"
            f"`sat status {run}` shows how far it is"
        )
    return _finished(run, *names)


def _finished(folder: Any, *arms: str) -> Arms:
    from sat_evaluation.results.chosen_pairs import Arms
    from sat_evaluation.run.status import finished_rows

    rows, unfinished = finished_rows(folder, arms)
    if unfinished:
        left = f"{len(unfinished)} of {len(rows) + len(unfinished)} arms are not finished and left out"
        print(f"sat: {left} ({', '.join(unfinished[:3])})", file=sys.stderr)
    return Arms(folder=folder, rows=rows, name=folder.title)
