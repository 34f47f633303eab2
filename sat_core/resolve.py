"""``training.precision = "auto"``: which precision a run takes."""

from __future__ import annotations

from sat_core.backend import Backend
from sat_core.errors import SpecError
from sat_core.folder import Folder
from sat_core.precision import AUTO, OF_NETWORK
from sat_core.study import Study
from sat_core.tables import flatten

PRECISION = "training.precision"


def resolve_precision(study: Study, folder: Folder, backend: Backend, *, elsewhere: bool = False) -> Study:
    """Return the study with a precision by its name in place of ``auto``: one for all arms and their ranking.

    A run that has begun continues with what it began with, also on another device. A new one takes the fastest that
    the device has in hardware. Either way, ``spec.toml`` and all results name it.

    Args:
        study: What is to be run.
        folder: Of the run; need not exist.
        backend: Computes.
        elsewhere: Whether that is on other machines, whose devices this one does not know.

    Raises:
        SpecError: ``auto`` is in a grid, or the device is not known.
    """
    named = ", ".join(OF_NETWORK)
    if any(AUTO in grid.get(PRECISION, ()) for grid in study.grids):
        raise SpecError(f"grid: expected precisions by name in {PRECISION!r}, got {AUTO!r}; take some of {named}")
    if flatten(study.settings).get(PRECISION) != AUTO:
        return study
    begun = flatten(folder.read_spec()[0]).get(PRECISION) if folder.spec_file.exists() else None
    if begun not in OF_NETWORK and elsewhere:
        raise SpecError(
            f"{PRECISION}: {AUTO!r} needs the device that computes, and this run is computed on other machines\n"
            f"name the precision: {named}"
        )
    return study.set({PRECISION: begun if begun in OF_NETWORK else backend.fastest_precision()})
