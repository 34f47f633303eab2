"""Heads for another data set on the frozen features of a finished run, or of every arm of a study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs

from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_core.errors import RunDirectoryError
from sat_core.job import Job
from sat_core.plugins import check_loaded
from sat_core.protocols import PROTOCOLS
from sat_core.run_folder import TRANSFER, RunFolder
from sat_core.spec import Spec
from sat_core.study import Study
from sat_core.transfer import Source, transfer_spec
from sat_core.unit_folder import UnitFolder


@final
@attrs.frozen(kw_only=True)
class Transfer:
    """A transfer of one run or of all arms of a study.

    Args:
        source: Folder of the run, or of the study.
        target: Name of a data set.
        settings: Some of `sat_core.transfer.SETTINGS`.
    """

    source: Path
    target: str
    settings: Mapping[str, Any]

    def sources(self) -> dict[str, UnitFolder]:
        """Return the folders of the runs by name, in the order of the study.

        Raises:
            RunDirectoryError: One is not finished.
        """
        run, study = UnitFolder(self.source), RunFolder(self.source)
        if run.has_results:
            return {self.source.resolve().name: run}
        if not study.has_arms:
            raise RunDirectoryError(
                f"{self.source}: expected the folder of a study or of an arm, found no arms/ and no "
                f"{run.results_file.name}"
            )
        arms = Study.from_tables(study.read_spec()[0]).arms
        folders = {arm.name: study.unit(arm.name) for arm in arms}
        missing = [name for name, folder in folders.items() if not folder.has_results]
        if missing:
            raise RunDirectoryError(
                f"{self.source}: {len(missing)} of {len(folders)} arms are not finished ({', '.join(missing[:3])})\n"
                "run the study to its end first"
            )
        return folders

    def check_plugins(self) -> None:
        """Raise SpecError if the source names plug-ins that this process has not imported; imports none.

        To be called before any other method where the user has started the command. The processes that it starts
        import what was approved so.
        """
        if not UnitFolder(self.source).has_results:
            study = RunFolder(self.source)
            if study.has_arms:
                check_loaded(study.read_spec()[0], study)
        for run in self.sources().values():
            check_loaded(Source.read(run).results.spec, run)

    def check_folder(self, folder: RunFolder) -> None:
        """RunDirectoryError for a `folder` in that of the source, but where a study has its own transfers."""
        if not RunFolder(self.source).may_hold(folder.path):
            raise RunDirectoryError(f"{folder}: expected a folder outside of the source {self.source}; choose another")

    def job(self, name: str, data: DataSet, **options: Any) -> Job:
        """Return the training of a head on the features of the run called `name`.

        Args:
            name: One of `sources`.
            data: What the method `data` returns.
            options: As in `Job`.
        """
        source = Source.read(self.sources()[name])
        spec = transfer_spec(source.spec, self.target, self.settings)
        full_name = source.results.full_name
        return Job(spec=spec, data=data, source=source, full_name=full_name, **options)

    def data(self) -> DataSet:
        """Return the target, as the protocol of the source has it and with images as it takes them."""
        # one stands for all: arms of a study share their data set, and with it the shape of the images
        source = Source.read(next(iter(self.sources().values())))
        return target_data(source.spec, self.target).resized(source.image_shape)

    def tables(self, folder: RunFolder) -> dict[str, Any]:
        """Return what ``spec.toml`` in `folder` says. The source is relative to it, so that both can be moved."""
        source = os.path.relpath(self.source.resolve(), folder.path.resolve())
        return {TRANSFER: {"source": source, "target": self.target, **self.settings}}

    @classmethod
    def read(cls, folder: RunFolder) -> Transfer:
        """Return the transfer whose `tables` are in `folder`."""
        settings = dict(folder.read_spec()[0][TRANSFER])
        try:
            return cls(
                source=Path(folder.path, settings.pop("source")), target=settings.pop("target"), settings=settings
            )
        except (KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"{folder.spec_file}: [transfer]: expected the texts source and target; {error}"
            ) from error


def target_data(source: Spec, target: str) -> DataSet:
    """Return the data set `target` under the protocol of a source with the spec `source`."""
    # under `authors`, Flowers-102 is read as the released code reads it (docs/PROTOCOLS.md, letter i)
    return get_dataset(PROTOCOLS.get(source.protocol).data(target))


def transfer_folders(study: Study, folder: RunFolder) -> dict[str, RunFolder]:
    """Return the targets of a study in `folder`, with their folders."""
    return {target: folder.transfer(target) for target in study.transfer.get("targets", ())}
