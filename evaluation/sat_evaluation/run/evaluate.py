"""AutoAttack on a network, for one or more radii: the work of `sat evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, final

import attrs

from sat_core import checkpoint, files
from sat_core.accuracy import accuracies
from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import AUTOATTACK, LEVELS
from sat_core.backend import Backend, get_backend
from sat_core.data import DataSet
from sat_core.datasets import get_dataset, load_once
from sat_core.errors import SpecError
from sat_core.evaluation import Evaluation
from sat_core.evaluation_spec import EvaluationSpec
from sat_core.input_spec import InputSpec
from sat_core.json_fields import to_json
from sat_core.networks import Network, open_network, said_by
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.threat import THREAT_MODELS
from sat_core.threat_grid import Threat
from sat_core.training_spec import TrainingSpec
from sat_evaluation.attack.rounds import by_rank_0
from sat_evaluation.run.opened import (
    check_images,
    chosen_images,
    identity_of,
    numbers_of,
    place_in,
    shown_inputs,
    threats_of,
)
from sat_evaluation.run.target import Target
from sat_evaluation.run.view import View


@final
@attrs.frozen(kw_only=True)
class CheckpointEvaluation:
    """What to attack, and how.

    Args:
        checkpoint: Path of weights: a checkpoint of ours, a file of another program, or the folder of an arm; empty for
            those that the model comes with.
        data: Name of a data set, whose test part is attacked.
        attacks: One of `sat_core.autoattack.LEVELS`, or names of attacks with commas.
        norm: Threat model; empty for that of the training, if the checkpoint is ours.
        radii: ε, as ``0.5`` or ``8/255``; none for that of the training.
        examples: How many, in a fixed random order; None for all.
        batch_size: Of the attack; part of the result. None for the engine's own.
        engine: Whose attacks run, see `sat_core.autoattack`.
        model: Name of the network, as ``package.module:factory`` or ``timm:resnet18d``; empty where the checkpoint
            says it.
        mean, std: Per channel, as ``0.5`` or ``127/255``: what images are normalised with for weights of others.
        output: Which part of what the network returns are its logits, see `sat_core.outputs`.
        threads: Of the CPU.
        out: Folder for the results; None for ``evaluate`` beside the checkpoint, or in the working directory.
    """

    checkpoint: str
    data: str
    attacks: str = "standard"
    norm: str = ""
    radii: Sequence[str] = ()
    examples: int | None = None
    batch_size: int | None = None
    engine: str = "package"
    model: str = ""
    mean: Sequence[str] = ()
    std: Sequence[str] = ()
    output: str = ""
    threads: int = 1
    out: Path | None = None

    def run(
        self,
        backend: str | None,
        device: str,
        view: View,
        group: ProcessGroup = ALONE,
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[list[Evaluation], Path]:
        """Attack, and save flags and accuracies for each ε; returns the evaluations, and the folder of the files.

        Args:
            backend, device: What computes.
            view: Shows how far it is.
            group: The ranks that attack together; rank 0 writes the files.
            stop: Called at every query; True ends it.

        Raises:
            SatError: Something does not fit. Messages name the keys of a study.
            Interrupted: A stop was requested, or another rank has an error; what is done is saved.
        """
        attacks = attack_set(self.attacks)
        # before data and network are read: what can be said at once is
        threats = threats_of(self.norm, self.radii, str(self._path or self.model), said_by(self.checkpoint))
        evaluations = []
        with self.opened(backend, device, view, threats, group) as target:
            for threat in threats:
                path = target.place(threat.norm, f"{threat.eps:g}", self.attacks)
                evaluation = target.attack(threat, slice(None), attacks, path, view, stop)
                content = {**target.about, **_content(target.data, evaluation)}
                by_rank_0(group, partial(files.write_json, path.with_name(f"{path.name}.json"), content))
                evaluations.append(evaluation)
        return evaluations, self.folder

    @property
    def _path(self) -> Path | None:
        return checkpoint.find(self.checkpoint) if self.checkpoint else None

    @property
    def folder(self) -> Path:
        """Where files go."""
        return self.out or (self._path.parent if self._path else Path()) / "evaluate"

    @contextmanager
    def opened(
        self, backend: str | None, device: str, view: View, threats: Sequence[Threat] = (), group: ProcessGroup = ALONE
    ) -> Iterator[Target]:
        """Read data and network, and hold the folder of the results; inside, the backend is ready.

        Args:
            backend, device: What computes.
            view: Shows how far it is, and what the network gets.
            threats: Whose radii have to fit the images.
            group: The ranks that work on it.

        Raises:
            SatError: Something does not fit. Messages name the keys of a study.
        """
        # nothing is trained: the section brings the threads to the session, and refuses a wrong batch size
        training = TrainingSpec(
            epochs=1, threads=self.threads, batch_size=1 if self.batch_size is None else self.batch_size
        )
        data, computing = load_once(lambda: get_dataset(self.data), group), get_backend(backend, device)
        index, out, trained = chosen_images(self.examples, len(data.test)), self.folder, self._trained()
        with ExitStack() as stack:
            stack.enter_context(computing.session(training))
            network, data = self._open(computing, data)
            identity = identity_of(network)
            for line in (*(() if network.saved else (shown_inputs(network.classifier.inputs),)), *network.taken):
                view.note(line)
            for threat in threats:
                # all radii before the first attack: a wrong one must not turn up hours later, nor leave files behind
                threat.check_images(data.image_shape)

            def open_folder() -> None:
                stack.enter_context(files.locked(out))
                files.sweep(out)

            by_rank_0(group, open_folder)
            examples = data.test.take(index)
            by_rank_0(group, partial(check_images, examples, view))
            ends = [str(len(index)), *([self.engine] if self.engine != "package" else [])]
            yield Target(
                title="",
                backend=computing,
                classifier=network.classifier,
                data=data,
                examples=examples,
                place=place_in(out, data.name, ends, identity),
                about={
                    "network": {**identity, "taken": list(network.taken)},
                    "epoch": network.saved.get("epoch"),
                    "data": {"name": data.name, "fingerprint": data.fingerprint()},
                },
                trained=trained,
                batch_size=self.batch_size,
                engine=self.engine,
                group=group,
            )

    def _trained(self) -> AttackSpec | None:
        """Attack in the threat model that is given, or that of the training where the weights say it."""
        metadata = said_by(self.checkpoint)
        said: Any = metadata.get("attack")
        said = said if isinstance(said, dict) else {}
        known = said.get("norm") in THREAT_MODELS and said.get("eps") is not None
        if not (self.norm or self.radii or known):
            return None
        threat = threats_of(self.norm, self.radii[:1], str(self._path or self.model), metadata)[0]
        return AttackSpec(norm=threat.norm, eps=threat.eps)

    def _open(self, backend: Backend, data: DataSet) -> tuple[Network, DataSet]:
        """The network, and the data with images as it takes them: for a transfer, scaled to its source's."""
        mean, std = (numbers_of(name, values) for name, values in (("mean", self.mean), ("std", self.std)))
        inputs = InputSpec(data.classes, data.image_shape, mean, std, output=self.output)
        network = open_network(backend, inputs, self.checkpoint or None, self.model)
        classifier = network.classifier
        if "source" in network.saved:
            data = data.resized(classifier.image_shape)
        if classifier.classes != data.classes or tuple(classifier.image_shape) != data.image_shape:
            raise SpecError(
                f"{network.title}: expected {classifier.classes} classes and images {tuple(classifier.image_shape)}, "
                f"got {data.classes} and {data.image_shape} from {data.name}"
            )
        return network, data


def attack_set(attacks: str) -> str | tuple[str, ...]:
    """Return a level, or names of attacks with commas, as evaluators take them; SpecError."""
    names = attacks.split(",")
    # a single name that is no attack stays a text, for which the error knows the nearest set: standrad, standard
    whole = attacks in LEVELS or (len(names) == 1 and names[0] not in AUTOATTACK)
    return EvaluationSpec(attacks=attacks if whole else tuple(names)).attacks


def _content(data: DataSet, evaluation: Evaluation) -> dict[str, Any]:
    correct, robust = (
        to_json(accuracies(flags, evaluation.label, data.classes, None))
        for flags in (evaluation.correct, evaluation.robust)
    )
    return {
        "norm": evaluation.norm,
        "eps": evaluation.eps,
        "clean_accuracy": correct,
        "robust_accuracy": robust,
        "level": evaluation.level,
        "breakdown": to_json(evaluation.breakdown()),
        "package": evaluation.package,
        "engine": evaluation.engine,
        "precision": evaluation.precision,
        "batch_size": evaluation.batch_size,
        "warnings": list(evaluation.warnings),
    }
