"""The difficulty ranking that the arms of a study share (paper, section 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.difficulty import DIFFICULTIES, Recorder
from sat_core.errors import SpecError
from sat_core.job import Job
from sat_core.rundir import claim
from sat_core.selection import SELECTION_RULES
from sat_core.spec import ModelSpec, Spec
from sat_core.splits import Split, make_split

FILE = "ranking.npz"


@final
@attrs.frozen(kw_only=True, eq=False)
class Ranking:
    """Difficulty of all training examples, by metric, or a published order.

    scores: metric to float64 `(N,)`, higher is harder. order: example numbers, hardest first, int64. seed: of the
    training that made the scores. gradients, seconds: what that training took; gradients are counted in examples.
    """

    scores: dict[str, np.ndarray] = attrs.Factory(dict)
    order: np.ndarray | None = None
    seed: int | None = None
    gradients: int = 0
    seconds: float | None = None

    @classmethod
    def read(cls, directory: Path) -> Ranking:
        """The finished ranking in `directory`."""
        arrays = files.read_npz(directory / FILE, *DIFFICULTIES, "seed", "gradients")
        seed, gradients = int(arrays.pop("seed")), int(arrays.pop("gradients"))
        seconds = files.read_seconds(directory).get("ranking")
        return cls(scores=arrays, seed=seed, gradients=gradients, seconds=seconds)

    def split(self, job: Job) -> Split:
        """A and B of the job's arm."""
        spec = job.spec
        scores = self.scores.get(spec.ranking.metric)
        seed = spec.training.seed
        return make_split(spec.subset, spec.weighting.rule, job.data, scores=scores, order=self.order, seed=seed)


def needs_ranking(spec: Spec) -> bool:
    """Whether a ranking must be trained: not with a published one, random or listed subsets, or baselines."""
    size = spec.subset.size
    baseline = size == 0 or (isinstance(size, float) and size == 1)
    return SELECTION_RULES.get(spec.subset.strategy).needs_ranking and not baseline and not spec.ranking.file


def ranking_job(job: Job) -> Job:
    """The job that makes the ranking of `job`'s arm: `ranking.epochs` of its training, of `ranking.model`.

    Raises SpecError if they are too few to see every example: the last incomplete batch of an epoch is dropped.
    """
    spec = job.spec
    training = attrs.evolve(spec.training, epochs=spec.ranking.epochs)
    model = ModelSpec(name=spec.ranking.model or spec.model.name)
    ranking = attrs.evolve(spec.ranking, model="")
    job = attrs.evolve(job, spec=attrs.evolve(spec, training=training, model=model, ranking=ranking))
    unseen = 0 if job.spec.ranking.record == "snapshot" else job.planner(job.no_members()).unseen()
    if unseen:
        raise SpecError(
            f"ranking.epochs: {training.epochs} epochs in batches of {training.batch_size} leave {unseen} of "
            f'{len(job.data.train)} examples unseen\nraise ranking.epochs, or take ranking.record = "snapshot"'
        )
    return job


def ranking_tables(job: Job) -> dict[str, Any]:
    """What `spec.toml` of a ranking says, but for [run]. job: as `ranking_job` gives it."""
    tables = job.spec.to_tables()
    return {key: tables[key] for key in ("data", "model", "ranking", "training")}


def run_ranking(job: Job) -> Ranking:
    """Train a non-robust classifier for `ranking.epochs` and record how difficult each example is (paper, Eq. 3)."""
    job = ranking_job(job)
    training = job.spec.training
    claim(job.directory, ranking_tables(job), job.backend, job.data)
    if not (job.directory / FILE).exists():
        recorder = Recorder(len(job.data.train))
        snapshot = job.spec.ranking.record == "snapshot"
        with job.backend.session(training):
            fit = job.fit(job.build(), job.no_members(), stage="ranking", recorder=recorder, snapshot=snapshot)
            about = {"gradients": np.array(fit.run().training_gradients), "seed": np.array(training.seed)}
        files.write_npz(job.directory / FILE, {**recorder.scores(), **about})
    return Ranking.read(job.directory)
