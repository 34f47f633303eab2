"""Heads for another data set on the frozen features of a finished run, or of every arm of a study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs

from sat_core.arm import RESULTS
from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_core.errors import RunDirectoryError
from sat_core.job import Job
from sat_core.protocols import PROTOCOLS
from sat_core.rundir import SPEC, read
from sat_core.spec import Spec
from sat_core.study import Study, folder_name
from sat_core.transfer import Source, transfer_spec
from sat_evaluation.run.folder import ARMS, TRANSFERS, unit_directory


@final
@attrs.frozen(kw_only=True)
class Transfer:
    """What was asked. source: folder of a run, or of a study. asked: some of `sat_core.transfer.SETTINGS`."""

    source: Path
    target: str
    asked: Mapping[str, Any]

    def sources(self) -> dict[str, Path]:
        """Folders of the runs by name, in the order of the study; RunDirectoryError if one is not finished."""
        if (self.source / RESULTS).exists():
            return {self.source.resolve().name: self.source}
        if not (self.source / ARMS).is_dir():
            raise RunDirectoryError(
                f"{self.source}: expected the folder of a study or of an arm, found no {ARMS}/ and no {RESULTS}"
            )
        arms = Study.from_tables(read(self.source)[0]).arms
        found = {arm.name: unit_directory(self.source, arm.name) for arm in arms}
        missing = [name for name, folder in found.items() if not (folder / RESULTS).exists()]
        if missing:
            raise RunDirectoryError(
                f"{self.source}: {len(missing)} of {len(found)} arms are not finished ({', '.join(missing[:3])})\n"
                "run the study to its end first"
            )
        return found

    def check_folder(self, out: Path) -> None:
        """RunDirectoryError for an `out` in the folder of the source, but where a study has its own transfers."""
        inside, source = out.resolve(), self.source.resolve()
        if inside.is_relative_to(source) and not inside.is_relative_to(source / TRANSFERS):
            raise RunDirectoryError(f"{out}: expected a folder outside of the source {self.source}; choose another")

    def job(self, name: str, data: DataSet, **options: Any) -> Job:
        """The training of a head on the features of the run called `name`, with what `data` returns.

        options: as in `Job`.
        """
        source = Source.read(self.sources()[name])
        spec = transfer_spec(source.spec, self.target, self.asked)
        full_name = str(source.results.get("full_name", ""))
        return Job(spec=spec, data=data, source=source, full_name=full_name, **options)

    def data(self) -> DataSet:
        """The target, as the protocol of the source has it and with images as it takes them."""
        source = Source.read(next(iter(self.sources().values())))
        return target_data(source.spec, self.target).resized(source.image_shape)

    def tables(self, out: Path) -> dict[str, Any]:
        """As `spec.toml` in `out` says it; the source relative to `out`, so that both can be moved together."""
        source = os.path.relpath(self.source.resolve(), out.resolve())
        return {TRANSFERS: {"source": source, "target": self.target, **self.asked}}

    @classmethod
    def read(cls, out: Path) -> Transfer:
        """What `tables` wrote in `out`."""
        asked = dict(read(out)[0][TRANSFERS])
        try:
            return cls(source=out / asked.pop("source"), target=asked.pop("target"), asked=asked)
        except (KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"{out / SPEC}: [transfer]: expected the texts source and target; {error}"
            ) from error


def target_data(source: Spec, target: str) -> DataSet:
    """The data set `target` under the protocol of a source with the spec `source`."""
    return get_dataset(PROTOCOLS.get(source.protocol).data(target))


def transfer_folders(study: Study, out: Path) -> dict[str, Path]:
    """The targets of a study in `out`, with their folders."""
    return {target: out / TRANSFERS / folder_name(target) for target in study.transfer.get("targets", ())}


def told(result: Mapping[str, Any]) -> str:
    """What happens to the images of the target, and where ε holds, in one line."""
    (h, w, _), attacks = result["data"]["image_shape"], result["attacks"]
    return (
        f"images of {result['data']['name']} are taken at {w} x {h} pixels, as the models trained on "
        f"{result['source']['data']['name']} do; ε = {attacks['eps']:g} ({attacks['norm']}) holds there"
    )
