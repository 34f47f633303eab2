"""What a training in this process needs before it begins: study, job and folder, from what users pass in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import DataSet
from sat_core.errors import type_name
from sat_core.job import Job
from sat_core.own_data import Data, as_data_set
from sat_core.progress_bar import progress_bar
from sat_core.ranking import Ranking, run_ranking
from sat_core.resolve import resolve_precision
from sat_core.run_folder import RunFolder
from sat_core.spec import Spec
from sat_core.study import Study
from sat_core.tables import flatten, nest
from sat_core.user_models import as_classifier, backend_of


def rank_in_folder(study: Study, job: Job, folder: RunFolder) -> Ranking:
    """Make the ranking of the study's arms in the run's folder, or read it if it is finished."""
    make = None if study.base.ranking.model else job.make_classifier  # another model ranks: build that one
    job = attrs.evolve(job, spec=study.base, folder=folder.ranking, make_classifier=make)
    with job.folder.locked(wait=10):
        job.folder.sweep()
        return run_ranking(job)


@contextmanager
def prepare(
    model: Any,
    data: Data,
    keys: Mapping[str, Any],
    settings: Mapping[str, Any] | None,
    backend: str | Backend | None,
    device: str | None,
    out: str | Path | None,
    progress: bool,
) -> Iterator[tuple[Study, Job, RunFolder]]:
    """Prepare what a training in this process needs; the arguments are those of `sat_core.front_door.train`.

    Args:
        keys: Settings that the caller's arguments stand for; `settings` win over them.

    Yields:
        The study with its one arm, a job for that arm, and the folder of the run, claimed for it.

    Raises:
        SatError: Something does not fit. Nothing has been written.
    """
    data = as_data_set(data)
    name = model if isinstance(model, str) else type_name(model)
    computing = backend_of(model, backend, device)
    # A study gives each arm one thread, so that arms run side by side and repeat exactly; here is one training alone.
    defaults = {"data.name": data.name, "model.name": name, "training.threads": os.cpu_count() or 1}
    spec = Spec.from_tables(nest({**defaults, **keys, **flatten(settings or {})}))
    study = Study.from_tables(spec.to_tables())  # in numbers: a folder made with "1/2" continues with 0.5
    make = _classifier_maker(model, computing, data)
    with tempfile.TemporaryDirectory() as empty, progress_bar(progress) as bar:
        folder = RunFolder(Path(empty) / "run" if out is None else Path(out))
        study = resolve_precision(study, folder, computing)
        arm = study.arms[0]
        options: dict[str, Any] = {"data": data, "backend": computing, "folder": folder.unit(arm.name)}
        job = Job(spec=arm.spec, progress=bar, make_classifier=make, **options)
        job.check()
        if make is None:  # a model of the user's was looked at when it was wrapped
            job.probe()
        folder.claim(job.experiment(study.to_tables()))
        yield study, job, folder


def _classifier_maker(model: Any, backend: Backend, data: DataSet) -> Callable[[], Classifier] | None:
    """Return what gives the user's own model with the weights that it has now; None for a name."""
    if isinstance(model, str):
        return None
    classifier = as_classifier(model, backend, classes=data.classes, image_shape=data.image_shape)
    # Now, before the ranking trains the same object: ranking and arm both begin with the user's weights.
    initial = classifier.state()

    def make() -> Classifier:
        classifier.load_state(initial)
        return classifier

    return make
