"""What a study leaves open until it is started: its precision, and where its weights are."""

from __future__ import annotations

import attrs

from sat_core.backend import Backend
from sat_core.errors import SpecError
from sat_core.folder import Folder
from sat_core.initial_network import absolute
from sat_core.precision import AUTO, OF_NETWORK
from sat_core.study import Study
from sat_core.tables import flatten, nest

PRECISION, WEIGHTS = "training.precision", "model.weights"


def resolve(study: Study, folder: Folder, backend: Backend, *, elsewhere: bool = False) -> Study:
    """Return the study with all that depends on where it is started: `resolve_precision`, and `resolve_weights`."""
    return resolve_precision(resolve_weights(study), folder, backend, elsewhere=elsewhere)


def resolve_weights(study: Study) -> Study:
    """Return the study with absolute paths of weights; CheckpointError for the first that is missing."""
    base, grids = flatten(study.settings), [dict(grid) for grid in study.grids]
    if not base.get(WEIGHTS) and not any(WEIGHTS in grid for grid in grids):
        return study
    base |= {WEIGHTS: absolute(base[WEIGHTS])} if base.get(WEIGHTS) else {}
    for grid in grids:
        grid |= {WEIGHTS: [path and absolute(path) for path in grid[WEIGHTS]]} if WEIGHTS in grid else {}
    return attrs.evolve(study, settings=nest(base), grids=grids)


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
