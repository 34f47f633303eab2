"""The difficulty ranking that the arms of a study share (paper, section 3.1)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.difficulty import DIFFICULTIES, Recorder, rank_correlation
from sat_core.display import data_frame, html_table
from sat_core.errors import DataError, SpecError
from sat_core.job import Job
from sat_core.registry import unknown
from sat_core.sections import ModelSpec
from sat_core.selection import SELECTION_RULES
from sat_core.spec import Spec
from sat_core.splits import Split, hardest_first, make_split
from sat_core.unit_folder import UnitFolder

STREAMS = "ranking "
"""Prefix of the random streams of a ranking: were they those of the arms, an arm would draw the same batches."""
_SHOWN = 5
"""Examples of each end of a ranking that a notebook shows."""
FOLLOWS = 0.1
"""|ρ| between difficulty and the place in the first epoch above which a ranking measures the order, too."""


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Ranking:
    """Difficulty of all training examples, by metric, or a published order.

    scores: metric to float64 `(N,)`, higher is harder. order: example numbers, hardest first, int64. places: of each
    example in the first epoch of the training that made the scores, int64 `(N,)`, -1 where it was not in it. seed: of
    that training. gradients, seconds: what it took; gradients are counted in examples.
    """

    scores: dict[str, np.ndarray] = attrs.Factory(dict)
    order: np.ndarray | None = None
    places: np.ndarray | None = None
    seed: int | None = None
    gradients: int = 0
    seconds: float | None = None

    @classmethod
    def read(cls, folder: UnitFolder, fingerprint: str = "") -> Ranking:
        """The finished ranking in `folder`; DataError unless each metric has a finite number for every example, and
        the file is of the experiment with `fingerprint` where that is given.
        """
        path = folder.ranking_file
        try:
            arrays = files.read_npz(path, *DIFFICULTIES, "places", "seed", "gradients", files.EXPERIMENT)
            of, places = str(arrays.pop(files.EXPERIMENT)), arrays.pop("places")
            seed, gradients = int(arrays.pop("seed")), int(arrays.pop("gradients"))
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0].removeprefix(f"{path}: ")
            raise DataError(f"{path}: {reason}\ndelete {path} and start again") from error
        scores = list(arrays.values())
        if any(s.shape != places.shape or s.dtype.kind != "f" or not np.isfinite(s).all() for s in scores):
            reason = "expected a finite number per example and metric"
        elif fingerprint and of != fingerprint:
            reason = "belongs to another study"
        else:
            seconds = folder.seconds().get("ranking")
            return cls(scores=arrays, places=places, seed=seed, gradients=gradients, seconds=seconds)
        raise DataError(f"{path}: {reason}\ndelete {path} and start again")

    def split(self, job: Job) -> Split:
        """A and B of the job's arm."""
        spec = job.spec
        scores = self.scores.get(spec.ranking.metric)
        seed = spec.training.seed
        return make_split(spec.subset, spec.weighting.rule, job.data, scores=scores, order=self.order, seed=seed)

    def hardest_first(self, metric: str = "entropy") -> np.ndarray:
        """Return the numbers of the examples, hardest first.

        Args:
            metric: "entropy", "error", "variance" or "margin"; a published order has none.

        Returns:
            int64 `(N,)`; examples of equal difficulty in the order of their numbers.

        Raises:
            SpecError: The ranking has no such metric.
        """
        if self.order is not None:
            return self.order
        if metric not in self.scores:
            raise SpecError(unknown("metric", metric, self.scores))
        return hardest_first(self.scores[metric])

    def save_order(self, path: str | Path, metric: str = "entropy") -> None:
        """Save `hardest_first` as .npy: `read_order` reads it, and ``ranking.file`` of a study can name it."""
        content = io.BytesIO()
        np.save(content, self.hardest_first(metric))
        files.write_bytes(Path(path), content.getvalue())

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with one row per example and one column per metric; see `data_frame`."""
        columns = self.scores if self.order is None else {"example": self.order}
        return data_frame({name: values.tolist() for name, values in columns.items()})

    def __repr__(self) -> str:
        examples = len(self.hardest_first(next(iter(self.scores), "")))
        return f"Ranking({examples:,} examples, {', '.join(self.scores) or 'a published order'})"

    def _repr_html_(self) -> str:
        orders = {metric: self.hardest_first(metric) for metric in self.scores} or {"order": self.hardest_first()}
        rows = [(metric, *order[:_SHOWN].tolist(), "…", *order[-_SHOWN:].tolist()) for metric, order in orders.items()]
        return html_table(f"{self!r}: hardest first", (), rows)

    def order_correlation(self, metric: str) -> float | None:
        """Spearman's ρ between the difficulty of examples and their place in the first epoch; None without scores.

        Near 0 in a ranking that measures difficulty. Recorded online over few epochs, examples seen early look hard.
        """
        if self.places is None or metric not in self.scores:
            return None
        seen = self.places >= 0
        return rank_correlation(self.scores[metric][seen], self.places[seen])

    def warnings(self, metric: str) -> list[str]:
        """Lines on why the order by `metric` may not be one of difficulty."""
        rho = self.order_correlation(metric)
        if rho is None or self.places is None:
            return []
        found = []
        chance = 3 / max(1, (self.places >= 0).sum() - 1) ** 0.5  # three standard errors of ρ of independent orders
        if abs(rho) > max(FOLLOWS, chance):
            found.append(
                f"ranking: difficulty depends on the order of the first epoch (ρ = {rho:.2f}); "
                'take ranking.record = "snapshot" or more ranking.epochs'
            )
        if metric == "variance" and (against := rank_correlation(self.scores[metric], self.scores["entropy"])) < 0:
            found.append(
                f"ranking: variance is anti-correlated with entropy (ρ = {against:.2f}): the training is too short for "
                'it; take ranking.metric = "entropy" or more ranking.epochs'
            )
        return found


def needs_ranking(spec: Spec) -> bool:
    """Whether a ranking must be trained: not with a published one, random or listed subsets, or baselines."""
    size = spec.subset.size
    baseline = size == 0 or (isinstance(size, float) and size == 1)
    return SELECTION_RULES.get(spec.subset.strategy).needs_ranking and not baseline and not spec.ranking.file


def ranking_job(job: Job) -> Job:
    """The job that makes the ranking of `job`'s arm: `ranking.epochs` of its training, of `ranking.model`, in an order
    of its own.

    Raises SpecError if they are too few to see every example: the last incomplete batch of an epoch is dropped.
    """
    spec = job.spec
    training = attrs.evolve(spec.training, epochs=spec.ranking.epochs)
    model = ModelSpec(name=spec.ranking.model or spec.model.name)
    ranking = attrs.evolve(spec.ranking, model="")
    job = attrs.evolve(job, spec=attrs.evolve(spec, training=training, model=model, ranking=ranking), streams=STREAMS)
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
    fingerprint = job.folder.claim(job.experiment(ranking_tables(job)))
    if not job.folder.has_ranking:
        recorder = Recorder(len(job.data.train))
        snapshot = job.spec.ranking.record == "snapshot"
        with job.backend.session(training):
            options = {"stage": "ranking", "recorder": recorder, "snapshot": snapshot}
            fit = job.fit(job.build(), job.no_members(), fingerprint, **options)
            gradients = fit.run().training_gradients
        about = {"gradients": np.array(gradients), "seed": np.array(training.seed), "places": fit.planner.places(0)}
        about[files.EXPERIMENT] = np.array(fingerprint)
        files.write_npz(job.folder.ranking_file, {**recorder.scores(), **about})
    return Ranking.read(job.folder, fingerprint)
