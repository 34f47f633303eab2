"""Everything that a ranking or an arm is run with, and the checks before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import checkpoint
from sat_core.advice import advice
from sat_core.augmentation import AUGMENTATIONS
from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.combinations import check_functions
from sat_core.data import DataSet, Examples
from sat_core.epoch_plan import check_batches, check_devices
from sat_core.errors import Interrupted, SpecError, brief, quoted
from sat_core.evaluation import Evaluation
from sat_core.evaluator import Evaluator, get_evaluator
from sat_core.experiment import Experiment, run_table
from sat_core.images import ImageSource
from sat_core.initial_network import initial_network, trained_inputs, trained_network, weights_table
from sat_core.input_spec import InputSpec
from sat_core.leader import Leader, tell_model
from sat_core.order_file import read_order
from sat_core.process_group import ALONE, Command, ProcessGroup
from sat_core.sections import SubsetSpec
from sat_core.spec import Spec
from sat_core.splits import Split, count, make_split, validation_split
from sat_core.trainer import Trainer
from sat_core.training import STOPPED, Fit, OnProgress, Scalars
from sat_core.transfer import Source, compute_features, transfer_keys
from sat_core.unit_folder import UnitFolder

SELECTION = "selection"
"""Stage in which the epoch is picked."""
# AutoAttack's own default is the clock, as in the authors' runs: no evaluation could be repeated.
EVALUATION_SEED = 0
"""AutoAttack's seed, the same for all arms and checks."""


@final
@attrs.frozen(kw_only=True)
class Job:
    """A spec, and everything that it is run with.

    Args:
        spec: Settings of the arm.
        data: In a transfer, with images of the shape that the source takes.
        backend: Computes.
        folder: Of the arm or the ranking.
        progress: See `sat_core.training.OnProgress`.
        scalars: See `sat_core.training.Scalars`.
        stop: Called between steps; True saves and raises Interrupted.
        save_every: Seconds between saves within an epoch.
        evaluator: Measures robust accuracy; AutoAttack if None.
        source: The run whose features a transfer uses; else None.
        streams: As in `sat_core.batches.Planner`.
        full_name: Of the arm, where its folder has a shortened name.
        make_classifier: Returns the classifier with its initial weights; if None, the one that `spec` names is built.
        group: The ranks that run it together. What is said of a job here, rank 0 does; see `sat_core.follower`.
        expected_seconds: What it was expected to take before the run began; None if nobody knew.
    """

    spec: Spec
    data: DataSet
    backend: Backend
    folder: UnitFolder
    progress: OnProgress = lambda *_: None
    scalars: Scalars = lambda *_: None
    stop: Callable[[], bool] = lambda: False
    save_every: float = 20.0
    evaluator: Evaluator | None = None
    source: Source | None = None
    streams: str = ""
    full_name: str = ""
    make_classifier: Callable[[], Classifier] | None = None
    group: ProcessGroup = ALONE
    expected_seconds: float | None = None

    def experiment(
        self, tables: Mapping[str, Any], others: Iterable[str] = (), like: Experiment | None = None
    ) -> Experiment:
        """Return the experiment that these settings make with the job's backend, device, data and weights.

        Args:
            tables: Settings of the arm, or of a whole study with it.
            others: Paths of the weights of the study's other arms.
            like: Another of the same run, so that the data are not read again.
        """
        run = run_table(self.backend.name, self.backend.device, self.data) if like is None else like.run_without_weights
        weights = weights_table(self.spec.model.weights, *others)
        return Experiment(tables=tables, run=run | weights, data=self.data.name)

    def check(self, sizes: dict[Any, int] | None = None) -> int:
        """Check the settings against the data before any training; returns |A|.

        Args:
            sizes: |A| by the settings that decide it, of jobs with the same data that were checked before; that of
                this job is added. Of thousands of arms few differ in A, and a split goes over all examples.

        Raises:
            SpecError: A setting does not fit the data.
            DataError: A published order does not.
        """
        sizes = {} if sizes is None else sizes
        engine = self.spec.evaluation.engine if self.evaluator is None else None
        check_functions(self.spec.loss, self.spec.attack, self.backend.name, engine)
        # Seeds change who is in A, and |A| only where classes of unequal size are drawn.
        decisive = attrs.evolve(self.spec.subset, seed=0), self.spec.weighting, self.spec.ranking.file
        if decisive not in sizes:
            sizes[decisive] = self._assumed_split().size
        self.evaluation_split()
        augmentation = AUGMENTATIONS.get(self.spec.training.augmentation)
        if augmentation.resized_crop and not isinstance(self.data.train.images, ImageSource):
            raise SpecError(
                f"training.augmentation: {augmentation.name!r} crops images while they are decoded, and those of "
                f"{quoted(self.data.name)} are in memory\ntake 'none', 'cifar' or 'crop-flip', or folder:PATH?size=N"
            )
        self.spec.loss.weights_of(self.data.train.labels[:0], self.data.classes)  # as many as there are classes
        check_batches(self.spec.training, self.spec.attack, len(self.data.train), self.data.image_shape)
        check_devices(self.spec.training, self.spec.attack, self.group.size, self.spec.subset)
        return sizes[decisive]

    def _assumed_split(self) -> Split:
        """Return A and B of any ranking: it is not trained yet, and sizes and classes do not depend on it."""
        order = self.published_order()
        scores = np.zeros(len(self.data.train)) if order is None else None
        return make_split(self.spec.subset, self.spec.weighting.rule, self.data, scores=scores, order=order)

    def warnings(self, size: int) -> list[str]:
        """Return lines about settings that are probably a mistake, where A has `size` examples."""
        share, n = self.spec.evaluation.selection_share, len(self.data.test)
        lines = advice(self.spec, size, len(self.data.train))
        if self.data.validation is None and isinstance(share, float) and count(share, n) == 0:
            lines.append(f"evaluation.selection_share: {share:g} of {n} images is less than one: one picks the epoch")
        model = self.spec.model
        if model.layers == "head" and not model.weights and model.name in self.backend.models():
            lines.append("model.layers: the head is trained on features that are drawn at random; set model.weights")
        return [transfer_keys(line) for line in lines] if self.source else lines

    def evaluation_split(self) -> tuple[Examples, np.ndarray, np.ndarray]:
        """Return the examples that the epoch is picked on, the positions of those used, and the reported ones.

        Returns:
            Examples; positions in them that pick the epoch; positions in `data.test` that are reported.
        """
        own = self.data.validation
        positions = validation_split(len(self.data.test), self.spec.evaluation, len(own) if own else 0)
        return own or self.data.test, *positions

    def published_order(self) -> np.ndarray | None:
        """Return the order in `ranking.file`, int64, hardest first; None without such a file."""
        path = self.spec.ranking.file
        return read_order(Path(path), len(self.data.train)) if path else None

    def no_members(self) -> Split:
        """Return the split with A = ∅."""
        return make_split(SubsetSpec(size=0), "uniform", self.data)

    def build(self) -> Classifier:
        """Return the classifier that the training begins with; in a transfer, the source's with a new head."""
        seed = self.spec.training.seed
        if self.source is not None:
            return self.source.load(self.backend).with_head(self.data.classes, seed)
        return initial_network(self.backend, self.spec.model, self.data, seed, self.make_classifier)

    def load_best(self) -> Classifier:
        """Return the classifier of the epoch that was picked."""
        path = self.folder.best_checkpoint
        if self.source is not None or self.make_classifier is not None:
            into = self.build() if self.make_classifier is None else self.make_classifier()
            return self.backend.load(path, into=into)
        inputs = trained_inputs(checkpoint.read(path).metadata, InputSpec.of(self.data))
        return trained_network(self.backend, path, self.spec.model.name, inputs)

    def probe(self) -> tuple[str, ...]:
        """Build the model and send two images forward and backward; SpecError if it does not fit the data.

        Returns:
            What was taken from other libraries and files, one line each.
        """
        classifier, images, labels = self.build(), self.data.train.images[:2], self.data.train.labels[:2]
        try:
            classifier.loss_gradient(images, labels)
        except Exception as error:  # the user's module may raise anything
            raise SpecError(
                f"model.name: {quoted(self.spec.model.name)} does not fit the data ({brief(error)})"
            ) from error
        return classifier.taken

    def planner(self, split: Split) -> Planner:
        """Return the planner of this training's batches with `split`."""
        spec, train = self.spec, self.data.train
        factors = spec.loss.weights_of(train.labels, self.data.classes)
        return Planner(split, spec.training, spec.attack, self.data.image_shape, self.streams, spec.loss, factors)

    def examples(self, stage: str) -> Examples:
        """Return what is attacked: in the stage "selection" the images that pick the epoch, else the reported ones."""
        candidates, picking, reporting = self.evaluation_split()
        return candidates.take(picking) if stage == SELECTION else self.data.test.take(reporting)

    def attack(self, classifier: Classifier, attacks: str | tuple[str, ...], name: str, stage: str) -> Evaluation:
        """Attack the `examples` of a stage with AutoAttack, or the job's own evaluator.

        Args:
            classifier: What is attacked.
            attacks: As in `sat_core.evaluator.Evaluator`.
            name: Of the file with the results per example.
            stage: To which the time is added.
        """
        with self.folder.timed(stage):
            tell_model(classifier, self.group)
            self.group.lead(Command.ATTACK)
            self.group.broadcast((attacks, stage))
            return self.evaluate(classifier, attacks, stage, self.folder.evaluation_file(name))

    def evaluate(
        self, classifier: Classifier, attacks: str | tuple[str, ...], stage: str, path: Path | None = None
    ) -> Evaluation:
        """Do this rank's part of `attack`; `path`: of the file with the results per example, for rank 0."""
        evaluator, examples = self.evaluator or get_evaluator(), self.examples(stage)
        # Only where there are several, since an evaluator of a user's own may know of no ranks.
        ranks: dict[str, Any] = {"group": self.group} if self.group.size > 1 else {}
        return evaluator(
            classifier,
            examples.images,
            examples.labels,
            norm=self.spec.attack.norm,
            eps=self.spec.attack.eps,
            attacks=attacks,
            seed=EVALUATION_SEED,
            engine=self.spec.evaluation.engine,
            path=path,
            progress=lambda share, note: self.tell(stage, share, note),
            **ranks,
        )

    def tell(self, stage: str, share: float, note: str) -> None:
        """Report how much of a stage is done, in [0, 1]; raises Interrupted if a stop was requested."""
        self.progress(stage, share, 1.0, note)
        if self._should_stop():
            raise Interrupted(STOPPED)

    def _should_stop(self) -> bool:
        return self.stop() or self.group.stop_wanted

    def fit(self, classifier: Classifier, split: Split, fingerprint: str, **options: Any) -> Fit:
        """Return the training of `classifier` on this data; `fingerprint` and `options` as in `Fit`."""
        features = self.features(fingerprint)
        self.group.lead(Command.TRAINER)
        self.group.broadcast(fingerprint)
        trainer = self.trainer(classifier, features)
        return Fit(
            classifier=classifier,
            trainer=trainer if self.group.size == 1 else Leader(trainer, classifier, self.group),
            group=self.group,
            with_images=features is None,
            planner=self.planner(split),
            data=self.data.train,
            folder=self.folder,
            fingerprint=fingerprint,
            progress=self.progress,
            scalars=self.scalars,
            stop=self._should_stop,
            save_every=self.save_every,
            **options,
        )

    @contextmanager
    def session(self) -> Iterator[None]:
        """Inside, the backends of all ranks have the settings of the training (`sat_core.backend.Backend.session`)."""
        if self.group.rank == 0:
            self.group.lead(Command.START)
        with self.backend.session(self.spec.training):
            yield

    def trainer(self, classifier: Classifier, features: np.ndarray | None) -> Trainer:
        """Return the trainer of this rank; the arguments are those of `sat_core.backend.Backend.trainer`."""
        spec = self.spec
        return self.backend.trainer(classifier, self.data.train, spec.training, spec.attack, features, spec.loss)

    def features(self, fingerprint: str) -> np.ndarray | None:
        """Return what a head is trained on, float32 `(n, d)`, computed once and saved in parts; None for images.

        Args:
            fingerprint: Of the experiment.
        """
        augmented = AUGMENTATIONS.get(self.spec.training.augmentation).active
        # Features are of the images as they are, so with augmentation each batch goes through the frozen network.
        if self.source is None or augmented:
            return None
        source, images, folder = self.source, self.data.train.images, self.folder
        return compute_features(source, self.backend, images, folder, fingerprint, self.tell)
