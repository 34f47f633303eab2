"""Where things lie in the folder of a study, of a transfer, or of a reproduction, which has several studies."""

from __future__ import annotations

from pathlib import Path
from typing import final

import attrs

from sat_core import files
from sat_core.arm_names import folder_name
from sat_core.errors import RunDirectoryError
from sat_core.folder import Folder
from sat_core.unit_folder import UnitFolder

RANKING = "ranking"
"""Name of the unit that is the ranking."""
TRANSFER = "transfer"
"""Table in the spec of the folder of a transfer."""
_ARMS, _TRANSFERS, _STUDIES, _QUEUE, _DATA = "arms", "transfer", "studies", "slurm", "data"


@attrs.frozen
class RunFolder(Folder):
    """The folder of a study, with its ranking, arms and transfers; or of one transfer, with its heads as arms.

    >>> RunFolder("runs/digits").unit("size-0.5").path.as_posix()
    'runs/digits/arms/size-0.5'
    """

    def unit(self, name: str) -> UnitFolder:
        """Return the folder of the ranking, or of the arm called `name`."""
        return self.ranking if name == RANKING else UnitFolder(self.path / _ARMS / name)

    @property
    def ranking(self) -> UnitFolder:
        """The folder of the ranking."""
        return UnitFolder(self.path / RANKING)

    @property
    def arms(self) -> list[UnitFolder]:
        """The folders of arms that are there, sorted by name."""
        return [UnitFolder(path) for path in sorted((self.path / _ARMS).glob("*/"))]

    @property
    def has_arms(self) -> bool:
        """Whether there is a folder for arms, as there is in that of a study which has begun."""
        return (self.path / _ARMS).is_dir()

    def transfer(self, target: str) -> RunFolder:
        """Return the folder of the transfer of this study to the data set `target`."""
        return RunFolder(self.path / _TRANSFERS / folder_name(target))

    @property
    def transfers(self) -> list[RunFolder]:
        """The folders of transfers that have begun, sorted by name."""
        return [folder for path in sorted((self.path / _TRANSFERS).glob("*")) if (folder := RunFolder(path)).has_begun]

    @property
    def title(self) -> str:
        """Name of the study; of a transfer in the folder of a study, that of the study and the target."""
        path = self.path.resolve()
        return f"{path.parents[1].name}-{path.name}" if path.parent.name == _TRANSFERS else path.name

    def may_hold(self, path: Path) -> bool:
        """Return whether `path` is outside of this folder, or where it has its own transfers."""
        path, here = path.resolve(), self.path.resolve()
        return not path.is_relative_to(here) or path.is_relative_to(here / _TRANSFERS)

    @property
    def has_begun(self) -> bool:
        """Whether the folder belongs to a study or a transfer already."""
        return self.spec_file.exists()

    @property
    def summary_file(self) -> Path:
        """The finished arms as CSV."""
        return self.path / "summary.csv"

    @property
    def plan_file(self) -> Path:
        """What the run is expected to cost."""
        return self.path / "plan.json"

    @property
    def order_file(self) -> Path:
        """Example numbers, hardest first, as `sat rank` saves them; a study's ``ranking.file`` can name it."""
        return self.path / "order.npy"

    @property
    def data_facts(self) -> Path:
        """What is known about the data set that the run was given as an object; its presence says that all is saved."""
        return self.path / _DATA / "facts.json"

    def data_array(self, name: str) -> Path:
        """Return the file of an array of that data set."""
        return self.path / _DATA / f"{name}.npy"

    @property
    def accuracy_plot(self) -> Path:
        """Accuracy over |A|, without the suffix of a format."""
        return self.path / "accuracy"

    @property
    def matrix_plot(self) -> Path:
        """Accuracy per class of single-class arms, without the suffix of a format."""
        return self.path / "matrix"

    @property
    def pareto_plot(self) -> Path:
        """Accuracy over the cost of the training, without the suffix of a format."""
        return self.path / "pareto"

    @property
    def law_plot(self) -> Path:
        """Robust accuracy over |A| with the fitted law, without the suffix of a format."""
        return self.path / "law"

    @property
    def defence_plot(self) -> Path:
        """Robust accuracy among correctly classified images, without the suffix of a format."""
        return self.path / "defence"

    @property
    def gain_plot(self) -> Path:
        """Gain on B against full adversarial training, without the suffix of a format."""
        return self.path / "gain"

    @property
    def class_entropy_plot(self) -> Path:
        """What one class in A brings to B over its difficulty, without the suffix of a format."""
        return self.path / "class-entropy"

    @property
    def agreement_plot(self) -> Path:
        """Agreement of the scores of the ranking, without the suffix of a format."""
        return self.path / "agreement"

    @property
    def overfitting_plot(self) -> Path:
        """Accuracy over the epochs, without the suffix of a format."""
        return self.path / "overfitting"

    @property
    def summaries(self) -> list[Path]:
        """The tables and plots that are there."""
        return [path for path in sorted(self.path.iterdir()) if path.suffix in (".csv", ".png", ".svg")]

    @property
    def queue(self) -> Path:
        """Folder for what belongs to jobs in Slurm's queue."""
        return self.path / _QUEUE

    @property
    def jobs_file(self) -> Path:
        """Which jobs have been submitted."""
        return self.queue / "jobs.json"

    @property
    def pickles(self) -> Path:
        """submitit's folder. Jobs run what is pickled there, so it is nobody else's."""
        return self.queue / "submitit"

    def sweep(self) -> None:
        """Remove what interrupted writes left in the folder itself: its units may run already, on other machines."""
        files.sweep(self.path, below=False)


@final
@attrs.frozen
class ReproductionFolder:
    """The folder of `sat reproduce`: what was asked for and drawn, and a folder for each study."""

    path: Path = attrs.field(converter=Path)

    def __str__(self) -> str:
        return str(self.path)

    def study(self, name: str) -> RunFolder:
        """Return the folder of the study called `name`."""
        return RunFolder(self.path / _STUDIES / name)

    @property
    def studies(self) -> list[RunFolder]:
        """The folders of studies that are there, sorted by name."""
        return [RunFolder(path) for path in sorted((self.path / _STUDIES).glob("*"))]

    def figure_file(self, figure: str) -> Path:
        """Return the file that says with which settings a figure was asked for."""
        return self.path / f"{figure}.json"

    def drawing(self, name: str) -> Path:
        """Return the file of a drawing, without the suffix of a format."""
        return self.path / name


def one_run(path: Path) -> RunFolder:
    """Return the folder of one study or transfer.

    Raises:
        RunDirectoryError: `path` is an arm of one, a reproduction, which has several, or none of these.
    """
    folder, here = RunFolder(path), path.resolve()
    whole = RunFolder(path.parent.parent if len(path.parts) > 2 else here.parent.parent)
    if here.parent.name == _ARMS and whole.has_begun:
        raise RunDirectoryError(
            f"{path}: expected the folder of a study or transfer, got an arm\ngive {whole}, with --arms {here.name}"
        )
    if not folder.has_begun:
        studies = run_folders(path)
        raise RunDirectoryError(
            f"{path}: expected the folder of one study or transfer, got {len(studies)} of them\n"
            f"give one, as {studies[0]}"
        )
    return folder


def run_folders(path: Path) -> list[RunFolder]:
    """Return the folder of a study or transfer and those of its transfers; of a reproduction, all of its studies'.

    Raises:
        RunDirectoryError: `path` is none of these.
    """
    folder = RunFolder(path)
    if folder.has_begun:
        return [folder, *folder.transfers]
    studies = [study for study in ReproductionFolder(path).studies if study.has_begun]
    if not studies:
        raise RunDirectoryError(
            f"{path}: expected the folder of a study (with {folder.spec_file.name}), of a transfer or of "
            "`sat reproduce`"
        )
    return [each for study in studies for each in (study, *study.transfers)]
