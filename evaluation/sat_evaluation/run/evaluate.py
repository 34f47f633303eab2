"""AutoAttack on a network, for one or more radii: the work of `sat evaluate`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import checkpoint, files
from sat_core.accuracy import accuracies
from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import AUTOATTACK, LEVELS
from sat_core.backend import Backend, get_backend
from sat_core.classifier import Classifier
from sat_core.data import DataSet, Examples, check_files
from sat_core.datasets import get_dataset, load_once
from sat_core.errors import Interrupted, SpecError, quoted
from sat_core.evaluation import Evaluation
from sat_core.evaluation_spec import EvaluationSpec
from sat_core.fields import fraction
from sat_core.input_spec import InputSpec
from sat_core.json_fields import to_json
from sat_core.networks import Network, open_network, said_by
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.splits import validation_permutation
from sat_core.threat import THREAT_MODELS
from sat_core.training import STOPPED
from sat_core.training_spec import TrainingSpec
from sat_evaluation.attack.rounds import by_rank_0
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
        # before data and network are read: what can be said at once is
        path = checkpoint.find(self.checkpoint) if self.checkpoint else None
        metadata = said_by(self.checkpoint)
        threats, attacks = self._threats(str(path or self.model), metadata), self._attack_set()
        # nothing is trained: the section brings the threads to the session, and refuses a wrong batch size
        training = TrainingSpec(
            epochs=1, threads=self.threads, batch_size=1 if self.batch_size is None else self.batch_size
        )
        data, computing = load_once(lambda: get_dataset(self.data), group), get_backend(backend, device)
        index = _chosen(self.examples, len(data.test))
        out = self.out or (Path() if path is None else path.parent) / "evaluate"
        evaluations = []
        with ExitStack() as stack:
            stack.enter_context(computing.session(training))
            network, data = self._open(computing, data)
            identity = _identity(network)
            for line in (*(() if network.saved else (_shown(network.classifier.inputs),)), *network.taken):
                view.note(line)
            for threat in threats:
                # all radii before the first attack: a wrong one must not turn up hours later, nor leave files behind
                threat.check_images(data.image_shape)

            def open_folder() -> None:
                stack.enter_context(files.locked(out))
                files.sweep(out)

            by_rank_0(group, open_folder)
            for threat in threats:
                file = out / self._file_name(data, identity, threat, len(index))
                # saved after every batch of the attack: the same call continues there
                options: dict[str, Any] = {"path": file.with_name(f"{file.name}.npz") if group.rank == 0 else None}
                options |= {"attacks": attacks, "batch_size": self.batch_size, "engine": self.engine, "group": group}
                examples = data.test.take(index)
                by_rank_0(group, partial(_check, examples, view))
                evaluation = _attack(computing, network.classifier, examples, threat, options, view, stop)
                content = _content(
                    {**identity, "taken": list(network.taken)}, network.saved.get("epoch"), data, evaluation
                )
                by_rank_0(group, partial(files.write_json, file.with_name(f"{file.name}.json"), content))
                evaluations.append(evaluation)
        return evaluations, out

    def _threats(self, title: str, metadata: Mapping[str, Any]) -> list[AttackSpec]:
        """The threat models, by default that of the training."""
        trained = metadata.get("attack")
        trained = trained if isinstance(trained, dict) else {}
        norm = self.norm or trained.get("norm")
        radii: Sequence[Any] = self.radii or [trained.get("eps")]
        if norm is None or None in radii:
            raise SpecError(f"{title}: does not say its threat model; give attack.norm and attack.eps")
        if not self.norm and norm not in THREAT_MODELS:
            raise SpecError(
                f"{title}: was trained in the norm {quoted(norm)}, which no loaded module brings; give --import with "
                "the module that does"
            )
        threats = [AttackSpec(norm=norm, eps=eps) for eps in radii]
        # the ε of one norm says nothing in another: 0.5 is a usual radius in L2, and half of the range in Linf
        if not self.radii and norm != trained.get("norm"):
            raise SpecError(f"attack.norm: {norm} needs attack.eps, as the training was with {trained.get('norm')}")
        return threats

    def _attack_set(self) -> str | tuple[str, ...]:
        names = self.attacks.split(",")
        # a single name that is no attack stays a text, for which the error knows the nearest set: standrad, standard
        whole = self.attacks in LEVELS or (len(names) == 1 and names[0] not in AUTOATTACK)
        return EvaluationSpec(attacks=self.attacks if whole else tuple(names)).attacks

    def _open(self, backend: Backend, data: DataSet) -> tuple[Network, DataSet]:
        """The network, and the data with images as it takes them: for a transfer, scaled to its source's."""
        mean, std = (_numbers(name, values) for name, values in (("mean", self.mean), ("std", self.std)))
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

    def _file_name(self, data: DataSet, identity: dict[str, Any], threat: AttackSpec, n: int) -> str:
        """Of the results, without suffix; another network, other inputs or other settings have another one."""
        parts = [data.name, threat.norm, f"{threat.eps:g}", self.attacks, str(n)]
        name = "-".join([*parts, *([self.engine] if self.engine != "package" else [])])
        name += f"-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]}"
        # the name of the data set may hold a path: of any length, and with slashes
        return files.short_name(re.sub("[^A-Za-z0-9.-]+", "-", name), of=name)


def _identity(network: Network) -> dict[str, Any]:
    """What is attacked, for ``results`` and the name of their file."""
    inputs = network.classifier.inputs.to_dict()
    return {
        "model": network.model or network.classifier.description.get("model", ""),
        "weights": {"file": network.path.name, "sha256": network.fingerprint()} if network.path else None,
        **{name: inputs.get(name) for name in ("mean", "std", "scaling")},
        "output": inputs.get("output", ""),
    }


def _shown(inputs: InputSpec) -> str:
    """What goes into a network whose weights are not ours, in one line."""
    steps, scaling = ["images in [0, 1]"], inputs.scaling
    if scaling is not None:
        steps.append(f"scaled to {scaling.size[0]} x {scaling.size[1]} ({scaling.interpolation})")
        steps += [] if scaling.crop == scaling.size else [f"centre {scaling.crop[0]} x {scaling.crop[1]}"]
    numbers = (", ".join(f"{value:.4g}" for value in values) for values in (inputs.mean, inputs.std))
    steps.append("minus {}, divided by {}".format(*numbers) if inputs.mean else "not normalised")
    return f"the network gets {', '.join(steps)}"


def _numbers(name: str, values: Sequence[str]) -> tuple[float, ...]:
    numbers = tuple(map(fraction, values))
    least = 0.0 if name == "mean" else np.nextafter(0.0, 1.0)
    if not all(isinstance(value, float) and least <= value < np.inf for value in numbers):
        kind = f"numbers or fractions {'>=' if name == 'mean' else '>'} 0"
        raise SpecError(f"{name}: expected {kind}, as 0.5 or 1/255, got {quoted(' '.join(values))}")
    return numbers


def _chosen(count: int | None, n: int) -> np.ndarray:
    if count is not None and not 1 <= count <= n:
        raise SpecError(f"evaluation.examples: expected 1 to {n}, got {count}")
    # the order of studies (recipe, section 1.3): without validation images, its first ones picked the epoch there,
    # so that accuracies on a few images lean towards the epoch that was picked
    return np.arange(n) if count is None else validation_permutation(n)[:count]


def _check(examples: Examples, view: View) -> None:
    # a damaged image is found now, not hours into the attack
    with view.checking_images() as count:
        check_files(examples, progress=count)


def _attack(
    backend: Backend,
    classifier: Classifier,
    examples: Examples,
    threat: AttackSpec,
    options: dict[str, Any],
    view: View,
    stop: Callable[[], bool],
) -> Evaluation:
    with view.attacking(f"{threat.norm} ε = {threat.eps:g}") as show:

        def progress(share: float, note: str) -> None:
            show(share, note)
            if stop():
                raise Interrupted(STOPPED)

        return backend.evaluate(
            classifier, examples.images, examples.labels, norm=threat.norm, eps=threat.eps, **options, progress=progress
        )


def _content(network: dict[str, Any], epoch: Any, data: DataSet, evaluation: Evaluation) -> dict[str, Any]:
    correct, robust = (
        to_json(accuracies(flags, evaluation.label, data.classes, None))
        for flags in (evaluation.correct, evaluation.robust)
    )
    return {
        "network": network,
        "epoch": epoch,
        "data": {"name": data.name, "fingerprint": data.fingerprint()},
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
