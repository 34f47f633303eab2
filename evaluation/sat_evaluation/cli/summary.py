"""A finished study or transfer on the terminal: its table, one sentence, warnings, and where the files are."""

from __future__ import annotations

from importlib.util import find_spec

from rich.console import Console

from sat_core.arm_results import ArmResults
from sat_core.errors import install, printable
from sat_core.result_parts import SourceSummary
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_evaluation.cli.pairs_table import print_conclusions
from sat_evaluation.cli.study_table import print_table
from sat_evaluation.results.conclusions import conclude
from sat_evaluation.results.headline import headline
from sat_evaluation.results.law import MOST_NAMED, curve_laws, law_sentence
from sat_evaluation.results.rows import collect
from sat_evaluation.results.text import public_name
from sat_evaluation.run.heads import transfer_folders
from sat_evaluation.run.preflight import grouped


def print_summary(results: list[ArmResults], folder: RunFolder) -> None:
    """Print what came out of a study or a transfer in `folder`."""
    rows, console = collect(results), Console()
    print_table(rows, console)
    console.print()
    print_conclusions(conclude(rows, folder), console, folder=str(folder))
    scaled = [_scaling(results[0], source)] if (source := results[0].source) else []
    enough = law_sentence(curve_laws(rows, folder, most=MOST_NAMED))
    for line in filter(None, [headline(rows, folder), enough, *scaled, *_warnings(results)]):
        console.print(printable(line), markup=False, highlight=False)
    if find_spec("matplotlib") is None:
        console.print(f"no plots: they need matplotlib, {install('report')}", markup=False, highlight=False)
    names = ", ".join(path.name for path in folder.summaries)
    console.print(f"{folder}: {names}; arms/*/results.json", markup=False, highlight=False)


def print_transfers(study: Study, folder: RunFolder) -> None:
    """`print_summary` for each target of a finished study."""
    for heads in transfer_folders(study, folder).values():
        print_summary([heads.unit(arm.name).results() for arm in study.arms], heads)


def _scaling(results: ArmResults, source: SourceSummary) -> str:
    """What happens to the images of the target, and where ε holds, in one line."""
    (h, w, _), attacks = results.data.image_shape, results.attacks
    return (
        f"images of {public_name(results.data.name)} are taken at {w} x {h} pixels, as the models trained on "
        f"{public_name(source.data.name)} do; ε = {attacks.eps:g} ({attacks.norm}) holds there"
    )


def _warnings(results: list[ArmResults]) -> list[str]:
    texts = [(each.arm, text) for each in results for text in each.all_warnings]
    return grouped(texts, len(results))
