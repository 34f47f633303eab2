"""`sat evaluate`: AutoAttack on a checkpoint, for one or more ε."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sat_core import checkpoint, files
from sat_core.accuracy import accuracies
from sat_core.autoattack import ATTACK_SETS, AUTOATTACK
from sat_core.backend import Backend, get_backend
from sat_core.classifier import Classifier
from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_core.errors import SpecError, printable
from sat_core.evaluation import Evaluation
from sat_core.evaluation_spec import EvaluationSpec
from sat_core.input_spec import InputSpec
from sat_core.json_fields import to_json
from sat_core.sections import AttackSpec, TrainingSpec
from sat_core.splits import validation_permutation
from sat_evaluation.cli.data_sets import check_headers


def evaluate_checkpoint(arguments: argparse.Namespace) -> list[Evaluation]:
    """Attack the validation part of a data set, print the table, and leave flags and scores for each ε.

    `arguments` are those of the command line; returns an evaluation for each ε. Raises SatError.
    """
    path = checkpoint.find(arguments.checkpoint)
    about = checkpoint.read(path).about
    with _named_as_options():
        threats, attacks = _asked(arguments, path, about)
        training = TrainingSpec(epochs=1, threads=arguments.threads, batch_size=arguments.batch_size)
    data = get_dataset(arguments.data)
    backend = get_backend(arguments.backend, arguments.device)
    suite, engine = arguments.attacks, arguments.engine
    index = _examples(arguments.examples, len(data.test))
    out = Path(arguments.out) if arguments.out else path.parent / "evaluate"
    evaluations = []
    with ExitStack() as stack:
        stack.enter_context(backend.session(training))
        classifier, data = _load(backend, path, about, data, arguments.model)
        with _named_as_options():
            for threat in threats:
                threat.check_images(data.image_shape)
        stack.enter_context(files.locked(out))
        files.sweep(out)
        for threat in threats:
            parts = [
                data.name,
                threat.norm,
                f"{threat.eps:g}",
                suite,
                str(len(index)),
                *([engine] if engine != "package" else []),
            ]
            stem = files.short_name(re.sub("[^A-Za-z0-9.-]+", "-", "-".join(parts)), of="-".join(parts))
            path_of_flags = out / f"{stem}.npz"
            options = {"attacks": attacks, "batch_size": arguments.batch_size, "engine": engine, "path": path_of_flags}
            evaluation = _attack(backend, classifier, data, index, threat, options)
            files.write_json(out / f"{stem}.json", _content(path, about, data, evaluation))
            evaluations.append(evaluation)
    _print(evaluations, out)
    return evaluations


def _asked(
    arguments: argparse.Namespace, path: Path, about: dict[str, Any]
) -> tuple[list[AttackSpec], str | tuple[str, ...]]:
    """The threat models, by default that of the training, and the attacks."""
    trained = about.get("attack")
    trained = trained if isinstance(trained, dict) else {}
    norm = arguments.norm or trained.get("norm")
    radii = arguments.eps or [trained.get("eps")]
    if norm is None or None in radii:
        raise SpecError(f"{path}: does not say its threat model; give --norm and --eps")
    threats = [AttackSpec(norm=norm, eps=eps) for eps in radii]
    if not arguments.eps and norm != trained.get("norm"):
        raise SpecError(f"--norm: {norm} needs --eps, as the training was with {trained.get('norm')}")
    names = arguments.attacks.split(",")
    whole = arguments.attacks in ATTACK_SETS or (len(names) == 1 and names[0] not in AUTOATTACK)
    return threats, EvaluationSpec(attacks=arguments.attacks if whole else tuple(names)).attacks


@contextmanager
def _named_as_options() -> Iterator[None]:
    """Errors inside name the options of the command line, not the keys of a study."""
    options = {"attack.eps": "--eps", "attack.norm": "--norm", "attack.step_size": "--eps"}
    options |= {"evaluation.attacks": "--attacks"}
    options |= {"training.threads": "--threads", "training.batch_size": "--batch-size"}
    try:
        yield
    except SpecError as error:
        said = str(error)
        for key, option in options.items():
            said = said.replace(key, option)
        raise SpecError(said) from error


def _load(
    backend: Backend, path: Path, about: dict[str, Any], data: DataSet, model: str | None
) -> tuple[Classifier, DataSet]:
    """The classifier, and the data with images as it takes them: for a transfer, scaled to its source's."""
    into = None
    if model is not None and "source" in about:
        into = backend.build_for(InputSpec.from_dict(about["source"]), model).with_head(data.classes)
    elif model is not None:
        into = backend.build_for(InputSpec.of(data), model)
    classifier = backend.load(path, into=into)
    if "source" in about:
        data = data.resized(classifier.image_shape)
    if classifier.classes != data.classes or tuple(classifier.image_shape) != data.image_shape:
        raise SpecError(
            f"{path}: expected {classifier.classes} classes and images {tuple(classifier.image_shape)}, "
            f"got {data.classes} and {data.image_shape} from {data.name}"
        )
    return classifier, data


def _examples(asked: int | None, n: int) -> np.ndarray:
    if asked is not None and not 1 <= asked <= n:
        raise SpecError(f"--examples: expected 1 to {n}, got {asked}")
    return np.arange(n) if asked is None else validation_permutation(n)[:asked]


def _attack(
    backend: Backend,
    classifier: Classifier,
    data: DataSet,
    index: np.ndarray,
    threat: AttackSpec,
    options: dict[str, Any],
) -> Evaluation:
    from rich.progress import Progress

    examples = data.test.take(index)
    check_headers(examples)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{threat.norm} ε = {threat.eps:g}", total=1.0)
        return backend.evaluate(
            classifier,
            examples.images,
            examples.labels,
            norm=threat.norm,
            eps=threat.eps,
            **options,
            progress=lambda share, _attack: bar.update(task, completed=share),
        )


def _content(path: Path, about: dict[str, Any], data: DataSet, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "checkpoint": path.name,
        "epoch": about.get("epoch"),
        "data": {"name": data.name, "fingerprint": data.fingerprint()},
        "norm": evaluation.norm,
        "eps": evaluation.eps,
        "clean_accuracy": to_json(accuracies(evaluation.correct, evaluation.label, data.classes, None)),
        "robust_accuracy": to_json(accuracies(evaluation.robust, evaluation.label, data.classes, None)),
        "breakdown": to_json(evaluation.breakdown()),
        "package": evaluation.package,
        "engine": evaluation.engine,
        "precision": evaluation.precision,
        "warnings": list(evaluation.warnings),
    }


def _print(evaluations: list[Evaluation], out: Path) -> None:
    console, first = Console(), evaluations[0]
    engine = "" if first.engine == "package" else f", {first.engine} engine"
    engine += "" if first.precision == "float32" else f", in {first.precision}"
    table = Table(title=f"AutoAttack ({first.package}{engine}), n = {first.robust_accuracy.n}")
    for heading in ("norm", "ε", "clean", *(f"after {attack.name}" for attack in first.attacks), "robust [95 %]"):
        table.add_column(heading, justify="right")
    for evaluation in evaluations:
        robust = evaluation.robust_accuracy
        table.add_row(
            evaluation.norm,
            f"{evaluation.eps:.4g}",
            f"{evaluation.clean_accuracy.value:.1%}",
            *(f"{outcome.robust_accuracy:.1%}" for outcome in evaluation.breakdown()),
            f"{robust.value:.1%} [{robust.low:.1%}, {robust.high:.1%}]",
        )
    console.print(table)
    for warning in dict.fromkeys(text for evaluation in evaluations for text in evaluation.warnings):
        console.print(f"warning: {printable(warning)}", markup=False)
    console.print(f"per-example results: {out}", markup=False)
