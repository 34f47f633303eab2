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
from sat_core.input_spec import InputSpec
from sat_core.job import Job
from sat_core.own_data import Data, as_data_set
from sat_core.progress_bar import progress_bar
from sat_core.ranking import Ranking, run_ranking
from sat_core.resolve import resolve
from sat_core.run_folder import RunFolder
from sat_core.sections import ModelSpec
from sat_core.spec import Spec
from sat_core.study import Study
from sat_core.tables import flatten, nest
from sat_core.user_models import backend_of


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
    classifier = _own_classifier(model, computing, data, spec.model)
    make = _maker(classifier)
    with tempfile.TemporaryDirectory() as empty, progress_bar(progress) as bar:
        folder = RunFolder(Path(empty) / "run" if out is None else Path(out))
        study = resolve(study, folder, computing)
        arm = study.arms[0]
        options: dict[str, Any] = {"data": data, "backend": computing, "folder": folder.unit(arm.name)}
        job = Job(spec=arm.spec, progress=bar, make_classifier=make, **options)
        job.check()
        if make is None or arm.spec.model.weights:  # a model of the user's was looked at when it was wrapped
            taken = job.probe()
            if taken:
                bar("network", 1.0, 1.0, "; ".join(taken))
        folder.claim(job.experiment(study.to_tables()))
        try:
            yield study, job, folder
        finally:
            if classifier is not None:
                classifier.learn("all")  # what the user's network learned before, it learns again


def _own_classifier(model: Any, backend: Backend, data: DataSet, spec: ModelSpec) -> Classifier | None:
    """Return the user's own model as a classifier; None for a name."""
    if isinstance(model, str | Classifier):
        return None if isinstance(model, str) else model
    inputs = InputSpec(data.classes, data.image_shape, spec.mean, spec.std, output=spec.output)
    return backend.wrap_for(inputs, model)


def _maker(classifier: Classifier | None) -> Callable[[], Classifier] | None:
    """Return what gives the user's own model with the weights that it has now."""
    if classifier is None:
        return None
    # Now, before the ranking trains the same object: ranking and arm both begin with the user's weights.
    initial = classifier.state()

    def make() -> Classifier:
        classifier.learn("all")
        classifier.load_state(initial)
        return classifier

    return make
