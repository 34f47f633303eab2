"""A finished study or transfer on the terminal: its table, one sentence, warnings, and where the files are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from rich.console import Console

from sat_core.errors import install, printable
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_evaluation.results.headline import headline
from sat_evaluation.results.rows import collect
from sat_evaluation.results.table import print_table
from sat_evaluation.run.heads import transfer_folders
from sat_evaluation.run.preflight import grouped


def print_summary(results: list[dict[str, Any]], folder: RunFolder) -> None:
    """Print what came out of a study or a transfer in `folder`."""
    rows, console = collect(results), Console()
    print_table(rows, console)
    scaled = [_scaling(results[0])] if "source" in results[0] else []
    for line in filter(None, [headline(rows), *scaled, *_warnings(results)]):
        console.print(printable(line), markup=False, highlight=False)
    if find_spec("matplotlib") is None:
        console.print(f"no plots: they need matplotlib, {install('report')}", markup=False, highlight=False)
    names = ", ".join(path.name for path in folder.summaries)
    console.print(f"{folder}: {names}; arms/*/results.json", markup=False, highlight=False)


def print_transfers(study: Study, folder: RunFolder) -> None:
    """`print_summary` for each target of a finished study."""
    for heads in transfer_folders(study, folder).values():
        print_summary([heads.unit(arm.name).results() for arm in study.arms], heads)


def _scaling(result: Mapping[str, Any]) -> str:
    """What happens to the images of the target, and where ε holds, in one line."""
    (h, w, _), attacks = result["data"]["image_shape"], result["attacks"]
    return (
        f"images of {result['data']['name']} are taken at {w} x {h} pixels, as the models trained on "
        f"{result['source']['data']['name']} do; ε = {attacks['eps']:g} ({attacks['norm']}) holds there"
    )


def _warnings(results: list[dict[str, Any]]) -> list[str]:
    texts = [(r["arm"], text) for r in results for text in (*r.get("warnings", ()), *r["attacks"].get("warnings", ()))]
    return grouped(texts, len(results))
