"""Puts a report into one HTML file: templates, style and script beside this module, and Jinja2."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from sat_core import __version__
from sat_core.errors import NotInstalledError, install, printable
from sat_evaluation.report import blocks, charts, forest, gallery
from sat_evaluation.report.paper_figures import DrawnFigure
from sat_evaluation.report.section import Section
from sat_evaluation.report.table import Table
from sat_evaluation.report.tables import numbers

_KINDS: dict[type, str] = {
    charts.Plot: "plot",
    charts.Matrix: "matrix",
    charts.Bars: "bars",
    forest.Forest: "forest",
    blocks.Charts: "charts",
    blocks.Listing: "listing",
    blocks.Note: "note",
    blocks.Settings: "settings",
    gallery.Adversarial: "gallery",
    gallery.Pictures: "pictures",
    Table: "table",
}
"""What templates call these types."""


def render(
    *,
    title: str,
    sections: Sequence[Section],
    figures: Sequence[DrawnFigure],
    beside: charts.Plot | None,
    problems: Sequence[str],
) -> str:
    """Return the page.

    Args:
        title: Names of the folders.
        sections: The runs; a single one without figures has the page for itself.
        figures: Of the paper.
        beside: Robust accuracy of several runs in one plot.
        problems: What could not be read, and why.

    Raises:
        NotInstalledError: Jinja2 is missing.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise NotInstalledError(f"sat report needs Jinja2: {install('report')}") from error
    environment = Environment(
        loader=PackageLoader("sat_evaluation.report", "."),
        autoescape=True,  # names of data sets, classes and folders may be markup
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    source, _, _ = environment.loader.get_source(environment, "script.js")  # type: ignore[union-attr]
    # as between the tags in report.html: the hash below covers every byte there
    script = f"\n{source}"
    # macros that are imported see globals only
    environment.globals |= {"kind": lambda block: _KINDS[type(block)], "numbers": numbers, "size": charts}
    return environment.get_template("report.html").render(
        title=title,
        sections=sections,
        figures=figures,
        beside=beside,
        problems=problems,
        alone=len(sections) == 1 and not figures,
        version=__version__,
        script=script,
        # the page's policy runs the script with this hash and no other, whatever names from data sets contain
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _visible(value: Any) -> Any:
    """Escape control characters in text of the page. Jinja's Markup comes from our templates and stays as it is."""
    return printable(value, keep="\n\t") if type(value) is str else value
