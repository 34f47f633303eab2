"""What a study gives back in Python: the results of its arms, as a table, a data frame and figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, final

import attrs

from sat_core.arm_results import ArmResults
from sat_core.display import html_table
from sat_core.run_folder import RunFolder
from sat_evaluation.figures.accuracy import accuracy_figure
from sat_evaluation.figures.appendix import appendix_figures
from sat_evaluation.figures.pareto import pareto_figure
from sat_evaluation.results.conclusions import Conclusions, conclude
from sat_evaluation.results.headline import headline, title
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.results.table import table_cells
from sat_evaluation.results.table_files import to_pandas
from sat_evaluation.results.tidy import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@final
@attrs.frozen(eq=False, repr=False)
class StudyResults:
    """The results of a study, in the order of its arms.

    Attributes:
        arms: Results of each arm.
        folder: Where everything is.
    """

    arms: tuple[ArmResults, ...]
    folder: RunFolder

    def __iter__(self) -> Iterator[ArmResults]:
        return iter(self.arms)

    def __len__(self) -> int:
        return len(self.arms)

    @property
    def rows(self) -> list[Row]:
        """One row per arm, as tables and figures use them."""
        return collect(self.arms)

    def to_pandas(self, what: str = "arms") -> Any:
        """Return a table of the study as a `pandas.DataFrame`; ``sat table`` writes the same as CSV or Parquet.

        Args:
            what: ``arms``, ``classes``, ``checks``, ``images`` or ``examples``: what has a row of its own, of each arm
                (docs/results.md). Columns of the first are those of summary.csv, and more.

        Raises:
            SpecError: There is no such table.
            DataError: A file of an arm that it needs is missing or damaged.
            NotInstalledError: pandas is missing; it is not a dependency of sat-core.
        """
        return to_pandas(table(what, self.rows, self.folder))

    def conclusions(self, measure: str = "robust") -> Conclusions:
        """Compare the arms on the test images that they have in common (docs/results.md, What may be concluded).

        Args:
            measure: ``robust`` or ``clean`` accuracy.
        """
        return conclude(self.rows, self.folder, measure=measure)

    def figure(self) -> Figure | None:
        """Draw robust and clean accuracy over |A|; None if no arm has a place on that axis.

        Raises:
            NotInstalledError: matplotlib is missing.
        """
        return accuracy_figure(self.rows)

    def cost_figure(self) -> Figure | None:
        """Draw robust and clean accuracy over gradient evaluations and time; None of fewer than three arms.

        Raises:
            NotInstalledError: matplotlib is missing.
        """
        return pareto_figure(self.rows)

    def appendix_figures(self) -> dict[str, Figure]:
        """Draw what the paper's appendix has, as far as the study has the arms for it (docs/results.md).

        Returns:
            ``defence``, ``gain``, ``class-entropy``, ``agreement`` and ``overfitting`` to figures.

        Raises:
            NotInstalledError: matplotlib is missing.
        """
        return {path.name: figure for path, figure in appendix_figures(self.rows, self.folder)}

    def __repr__(self) -> str:
        return f"StudyResults({len(self.arms)} arms in {self.folder})\n{headline(self.rows, self.folder)}".rstrip()

    def _repr_html_(self) -> str:
        columns = table_cells(self.rows)
        shown = html_table(title(self.rows), list(columns), zip(*columns.values(), strict=True))
        return f"{shown}<p>{headline(self.rows, self.folder)}</p>"
