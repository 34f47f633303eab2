"""The difficulty ranking that the arms of a study share (paper, section 3.1)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.agreement import Agreement, rank_correlation
from sat_core.attack_spec import AttackSpec
from sat_core.difficulty import STREAMED
from sat_core.display import data_frame, html_table
from sat_core.errors import DataError, SpecError
from sat_core.extra_pass import extra_gradients, extra_scores, try_extra
from sat_core.job import Job
from sat_core.loss_spec import LossSpec
from sat_core.recorder import Recorder
from sat_core.registry import unknown
from sat_core.sections import ModelSpec
from sat_core.selection import SELECTION_RULES
from sat_core.spec import Spec
from sat_core.splits import Split, hardest_first, make_split
from sat_core.unit_folder import UnitFolder

STREAMS = "ranking "
"""Prefix of the random streams of a ranking, so that it does not draw the same batches as an arm with its seed."""
_SHOWN = 5
"""Examples of each end of a ranking that a notebook shows."""
FOLLOWS = 0.1
"""|ρ| between difficulty and the place in the first epoch above which a ranking measures the order, too."""


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Ranking:
    """Difficulty of all training examples, by metric, or a published order.

    Attributes:
        scores: Metric to float64 `(N,)`; higher is harder.
        order: Numbers of examples, hardest first, int64; of a published order only.
        places: Place of each example in the first epoch of the training that made the scores, int64 `(N,)`; -1 for
            examples that were not in it.
        seed: Of that training.
        gradients: Gradient evaluations of that training and of the scores after it, counted in examples.
        seconds: Duration of both.
    """

    scores: dict[str, np.ndarray] = attrs.Factory(dict)
    order: np.ndarray | None = None
    places: np.ndarray | None = None
    seed: int | None = None
    gradients: int = 0
    seconds: float | None = None

    @classmethod
    def read(cls, folder: UnitFolder, fingerprint: str = "") -> Ranking:
        """Return the finished ranking in `folder`.

        Args:
            folder: Of the ranking.
            fingerprint: Of its experiment; empty to read that of any.

        Raises:
            DataError: The file is damaged, or of another experiment.
        """
        path = folder.ranking_file
        try:
            # All arrays: the others may be scores of plug-ins that are not there any more.
            arrays = files.read_npz(path)
            owner, places = str(arrays.pop(files.EXPERIMENT)), arrays.pop("places")
            known = {metric.name: arrays.pop(metric.name) for metric in STREAMED}
            seed, gradients = int(arrays.pop("seed")), int(arrays.pop("gradients"))
        except KeyError as error:
            raise DataError(f"{path}: has no array {error}\ndelete {path} and start again") from error
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0].removeprefix(f"{path}: ")
            raise DataError(f"{path}: {reason}\ndelete {path} and start again") from error
        scores = known | arrays
        if any(s.shape != places.shape or s.dtype.kind != "f" or not np.isfinite(s).all() for s in scores.values()):
            reason = "expected a finite number per example and metric"
        elif fingerprint and owner != fingerprint:
            # Its arrays may fit all the same, and would choose another A without a word.
            reason = "belongs to another study"
        else:
            seconds = folder.seconds().get("ranking")
            return cls(scores=scores, places=places, seed=seed, gradients=gradients, seconds=seconds)
        raise DataError(f"{path}: {reason}\ndelete {path} and start again")

    def split(self, job: Job) -> Split:
        """Split the training set of the job's arm into A and B."""
        spec, scores = job.spec, self.scores.get(job.spec.ranking.metric)
        if scores is None and self.scores and needs_ranking(spec):
            raise SpecError(f"ranking.metric: {unknown('score of this ranking', spec.ranking.metric, self.scores)}")
        return make_split(spec.subset, spec.weighting.rule, job.data, scores=scores, order=self.order)

    def hardest_first(self, metric: str = "entropy") -> np.ndarray:
        """Return the numbers of the examples, hardest first.

        Args:
            metric: One of `scores`; a published order has none.

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

    def agreement(self) -> Agreement:
        """Compare every two scores: Spearman's ρ, and how many of the hardest 10, 30 and 50 % they share.

        Raises:
            SpecError: It is a published order, without scores.
        """
        if not self.scores:
            raise SpecError("ranking: expected one with scores, got a published order; make one with sat.rank()")
        return Agreement.of(self.scores)

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
        """Return Spearman's ρ between difficulty and the place in the first epoch; None without scores that differ.

        It is near 0 if the ranking measures difficulty. If outputs are recorded during few epochs of training,
        examples that come early look hard, because the network has learnt less when it sees them.
        """
        if self.places is None or metric not in self.scores:
            return None
        # Examples of the incomplete last batch, which is dropped, have no place.
        seen = self.places >= 0
        rho = rank_correlation(self.scores[metric][seen], self.places[seen])
        return None if np.isnan(rho) else rho

    def warnings(self, metric: str) -> list[str]:
        """Return lines on why the order by `metric` may not be one of difficulty."""
        rho = self.order_correlation(metric)
        if rho is None or self.places is None:
            return []
        lines = []
        chance = 3 / max(1, (self.places >= 0).sum() - 1) ** 0.5  # three standard errors of ρ of independent orders
        if abs(rho) > max(FOLLOWS, chance):
            lines.append(
                f"ranking: difficulty depends on the order of the first epoch (ρ = {rho:.2f}); "
                'take ranking.record = "snapshot" or more ranking.epochs'
            )
        # In few epochs the predictions of easy examples change most, and the order is reversed (recipe, section 2).
        if metric == "variance" and (against := rank_correlation(self.scores[metric], self.scores["entropy"])) < 0:
            lines.append(
                f"ranking: variance is anti-correlated with entropy (ρ = {against:.2f}): the training is too short for "
                'it; take ranking.metric = "entropy" or more ranking.epochs'
            )
        return lines


def needs_ranking(spec: Spec) -> bool:
    """Return whether a ranking must be trained: not for baselines, random or listed subsets, or a published order."""
    size = spec.subset.size
    # 1.0 is everything, 1 is one example.
    baseline = size == 0 or (isinstance(size, float) and size == 1)
    return SELECTION_RULES.get(spec.subset.strategy).needs_ranking and not baseline and not spec.ranking.file


_USED = ("data.", "model.", "ranking.", "training.", "protocol", "plugins")
_NOT_USED = ("training.epochs", "training.batches", "training.awp", "training.averaging", "training.mixing")


def unused_in_ranking(keys: Iterable[str]) -> list[str]:
    """Return those of some keys of a study, dotted, that a ranking with its own number of epochs does not use."""
    return [key for key in keys if not key.startswith(_USED) or key in (*_NOT_USED, "training.patience")]


def ranking_job(job: Job) -> Job:
    """Return the job that makes the ranking of the arm of `job`.

    It trains `ranking.model` for `ranking.epochs` with the arm's other settings, in an order of its own.

    Raises:
        SpecError: In so few epochs some examples are never seen, as the last incomplete batch of each is dropped.
    """
    spec = job.spec
    # What only matters for members of A, or for the network that is reported, makes no other ranking.
    training = attrs.evolve(
        spec.training, epochs=spec.ranking.epochs, awp=0.0, averaging="none", mixing="none", patience=0
    )
    # Another network cannot begin with the weights of the arms'.
    model = ModelSpec(name=spec.ranking.model) if spec.ranking.model else spec.model
    # The network stands in `model` now. A study that names it there has the same ranking, and can take it over.
    ranking = attrs.evolve(spec.ranking, model="")
    attack = AttackSpec(norm=spec.attack.norm, eps=spec.attack.eps)  # `free` would train on each batch several times
    spec = attrs.evolve(spec, training=training, model=model, ranking=ranking, loss=LossSpec(), attack=attack)
    job = attrs.evolve(job, spec=spec, streams=STREAMS)
    unseen = 0 if job.spec.ranking.record == "snapshot" else job.planner(job.no_members()).unseen()
    if unseen:
        raise SpecError(
            f"ranking.epochs: {training.epochs} epochs in batches of {training.batch_size} leave {unseen} of "
            f'{len(job.data.train)} examples unseen\nraise ranking.epochs, or take ranking.record = "snapshot"'
        )
    return job


def ranking_tables(job: Job) -> dict[str, Any]:
    """Return the tables of a ranking's ``spec.toml`` without [run]. job: as `ranking_job` returns it."""
    tables = job.spec.to_tables()
    # Without members of A no other table changes it, so that arms that differ there share it.
    return {key: tables[key] for key in ("data", "model", "ranking", "training")}


def run_ranking(job: Job) -> Ranking:
    """Train a non-robust classifier and record how difficult each training example is for it (paper, Eq. 3).

    Args:
        job: Of an arm, with the folder of the ranking. A finished ranking is read, not made again.

    Raises:
        SatError: Settings and data do not fit, or the folder is that of another ranking.
        Interrupted: A stop was requested; the state is saved.
    """
    job = ranking_job(job)
    training = job.spec.training
    fingerprint = job.folder.claim(job.experiment(ranking_tables(job)))
    if not job.folder.has_ranking:
        recorder = Recorder(len(job.data.train), training.epochs)
        snapshot = job.spec.ranking.record == "snapshot"
        with job.session():
            options = {"stage": "ranking", "recorder": recorder, "snapshot": snapshot}
            classifier = job.build()
            try_extra(job, classifier)
            fit = job.fit(classifier, job.no_members(), fingerprint, **options)
            gradients = fit.run().training_gradients + extra_gradients(job)
            scores = recorder.scores() | extra_scores(job, classifier)
        metadata = {"gradients": np.array(gradients), "seed": np.array(training.seed), "places": fit.planner.places(0)}
        metadata[files.EXPERIMENT] = np.array(fingerprint)
        files.write_npz(job.folder.ranking_file, {**scores, **metadata})
    # Read back, so that the start that made it returns what every later start does.
    return Ranking.read(job.folder, fingerprint)
