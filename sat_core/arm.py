"""One arm, from its spec to its results. A second start continues where the first one stopped."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from sat_core import checkpoint, files, results
from sat_core.accuracy import Accuracy
from sat_core.arm_results import ArmResults
from sat_core.attacked import Attacked
from sat_core.check_epochs import check_epochs
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import CheckpointError, DataError, RunDirectoryError
from sat_core.job import SELECTION, Job
from sat_core.json_fields import from_json, to_json
from sat_core.network_cost import NetworkCost
from sat_core.ranking import Ranking
from sat_core.reselection import Reselection
from sat_core.result_parts import Check, Checks
from sat_core.spec import Spec
from sat_core.splits import Split
from sat_core.training import Fit
from sat_core.transfer import named_as_transfer
from sat_core.watch import Watch, watched

SHOWN = 6
"""Test images that are saved with adversarial examples, to look at."""


def run_arm(job: Job, ranking: Ranking | None = None) -> ArmResults:
    """Train with adversarial examples for A only, pick the epoch, and attack the images that did not pick it.

    Args:
        job: What to run, and where. A finished arm is read, not run again.
        ranking: Needed if `needs_ranking(job.spec)`.

    Returns:
        The content of ``results.json``.

    Raises:
        SatError: Settings and data do not fit, or the folder is that of another arm.
        Interrupted: A stop was requested; the state is saved.
    """
    with named_as_transfer(job.spec.data.name) if job.source else nullcontext():
        return _run(job, ranking)


def _run(job: Job, ranking: Ranking | None) -> ArmResults:
    # Claimed before it is read: the finished arm of other settings is refused, not returned.
    folder, fingerprint = job.folder, claim_arm(job)
    if folder.has_results:
        return folder.own_results(fingerprint)
    job.check()
    # No ranking was trained: there is a published order, or a subset that needs none (baseline, random, listed).
    ranking = ranking or Ranking(order=job.published_order())
    split = ranking.split(job)
    _, picking, reporting = job.evaluation_split()
    chosen = {"members": np.flatnonzero(split.members), "selection": picking, "report": reporting}
    if job.spec.evaluation.watch:
        chosen["watch"] = watched(picking, job.spec.evaluation.watch)
    lists = {name: index.tolist() for name, index in chosen.items()}
    files.write_json(folder.split_file, {**to_json(split.summary()), **lists})
    with job.session():
        arm_results = _train_and_evaluate(job, ranking, split, fingerprint)
    # Once more, as only now it is known which examples were attacked.
    files.write_json(folder.split_file, {**to_json(arm_results.split), **lists})
    # Last, because its presence says that the arm is finished. Features stay until then: every start needs them.
    files.write_json(folder.results_file, arm_results.to_json())
    folder.remove_features()
    return arm_results


def claim_arm(job: Job) -> str:
    """Make the job's folder the one of its arm, or check that it is; returns the fingerprint. See `Folder.claim`."""
    return job.folder.claim(job.experiment(arm_tables(job)))


def arm_tables(job: Job) -> dict[str, Any]:
    """Return the tables of an arm's ``spec.toml`` without [run]."""
    # With other weights in the same folder, as after a new training of the source, it is another experiment.
    source = {"source": {"fingerprint": job.source.fingerprint()}} if job.source else {}
    return {**job.spec.to_tables(), **source}


def _read_checks(path: Path, fingerprint: str) -> list[Check]:
    """Return the saved checks of this experiment; none if the file is missing or damaged."""
    try:
        saved = from_json(Checks, files.read_json(path))
    except DataError:
        # Whether the training can go on without a damaged file is for `_check_state` to say.
        return []
    return list(saved.checks) if saved.experiment == fingerprint else []


def _check_state(job: Job, checks: list[Check], fit: Fit, fingerprint: str) -> None:
    """Raise RunDirectoryError if a resumed training lacks its checks, or the weights of the best epoch so far."""
    at = fit.position
    folder = job.folder
    if not folder.last_checkpoint.exists():  # the training starts anew: old evaluations are of other weights
        folder.remove_evaluations()
    # `Fit` saves before it checks, so the check of the epoch that ended just now may be missing: `Fit.run` makes it.
    past = [epoch for epoch in fit.check_epochs if (epoch, 0) < (at.epoch, at.step)]
    checks[:] = [check for check in checks if check.epoch <= at.epoch]
    missing = [str(epoch) for epoch in past if epoch not in [check.epoch for check in checks]]
    reason = f"{folder.checks_file}: lacks the checks after epochs {', '.join(missing)}" if missing else ""
    # The best weights may be missing, too, if that check is the best: it comes again, and `on_check` saves them.
    if past and not missing and (best := results.best_epoch(checks)) in past:
        try:
            saved = checkpoint.read(folder.best_checkpoint)
            saved.check(fingerprint)
            if saved.metadata.get("epoch") != best:
                reason = f"{saved.path}: expected the weights after epoch {best}"
        except CheckpointError as error:
            reason = str(error).splitlines()[0]
    if reason:
        last = folder.last_checkpoint
        raise RunDirectoryError(f"{reason}\nthe training cannot go on without; delete {last} and it starts anew")


def _train_and_evaluate(job: Job, ranking: Ranking, split: Split, fingerprint: str) -> ArmResults:
    spec = job.spec
    classifier = job.build()
    folder = job.folder
    checks = _read_checks(folder.checks_file, fingerprint)

    def tell(kind: str, epoch: int, clean: Accuracy, robust: Accuracy) -> None:
        job.scalars(epoch, {f"{kind}/clean_accuracy": clean.value, f"{kind}/robust_accuracy": robust.value})

    def on_check(epoch: int) -> None:
        # After a crash between the file of checks and the checkpoint, the same epoch comes again, already checked.
        if epoch not in [check.epoch for check in checks]:
            attacks = spec.evaluation.selection_attacks
            evaluation = job.attack(classifier, attacks, f"selection-{epoch:04d}", SELECTION)
            check = results.make_check(epoch, evaluation, split)
            checks.append(check)
            files.write_json(folder.checks_file, to_json(Checks(experiment=fingerprint, checks=tuple(checks))))
            tell("selection", epoch, check.clean.all, check.robust.all)
        if results.best_epoch(checks) == epoch:
            threat = {"norm": spec.attack.norm, "eps": spec.attack.eps}
            metadata = {"model": dict(classifier.description), "epoch": epoch, "data": job.data.name, "attack": threat}
            metadata[files.EXPERIMENT] = fingerprint
            # Of a network that is not ours, too, so that `sat export` needs not build it.
            network = {"name": spec.model.name, "backend": job.backend.name, **classifier.inputs.to_dict()}
            metadata["network"] = network
            if job.source is not None:
                metadata["source"] = job.source.inputs.to_dict()
            checkpoint.save(folder.best_checkpoint, {"model": classifier.state()}, metadata)

    epochs = check_epochs(spec, len(job.data.train), head=job.source is not None)

    def ended() -> bool:
        # A function of the saved checks, so that a later start does not train on.
        return results.out_of_patience(checks, spec.training.patience)

    attacked = Attacked(split)
    fit = job.fit(
        classifier,
        split,
        fingerprint,
        check_epochs=epochs,
        on_check=on_check,
        ended=ended,
        attacked=attacked,
        reselection=_reselection(job, split),
        watch=_watch(job),
    )
    fit.resume()
    _check_state(job, checks, fit, fingerprint)
    for check in checks:
        tell("selection", check.epoch, check.clean.all, check.robust.all)
    position = fit.run()
    if split.moving:
        # Of a fixed A, split.json says all there is to know.
        members = {"first_members": split.members, "last_members": fit.planner.split.members}
        files.write_npz(folder.attacked_file, {**attacked.state(), **members, files.EXPERIMENT: np.array(fingerprint)})
    # Up to here it has the weights of the last epoch.
    job.backend.load(folder.best_checkpoint, into=classifier)
    evaluation = job.attack(classifier, spec.evaluation.attacks, folder.report_name(), "evaluation")
    reported = job.examples("evaluation")
    files.write_npz(folder.examples_file, _examples(classifier, reported.take(np.arange(len(reported))[:SHOWN]), spec))
    warnings = [*job.data.notes, *fit.warnings()]
    arm_results = results.make_results(
        job,
        ranking,
        split,
        checks,
        evaluation,
        position,
        warnings,
        fingerprint,
        attacked.summary(),
        classifier.taken,
        None if job.source else _network_cost(classifier),
    )
    tell("report", arm_results.selection.epoch, arm_results.clean_accuracy, arm_results.robust_accuracy)
    return arm_results


def _network_cost(classifier: Classifier) -> NetworkCost | None:
    try:  # that of a network by name is arithmetic, any other is measured
        return Classifier.cost(classifier) or classifier.cost()
    except Exception:  # a user's network may raise anything, and its training is not lost for that
        return None


def _reselection(job: Job, split: Split) -> Reselection | None:
    spec = job.spec
    if not split.rerank:
        return None
    return Reselection(
        split=split,
        subset=spec.subset,
        rule=spec.weighting.rule,
        metric=spec.ranking.metric,
        data=job.data,
        group=job.group,
    )


def _watch(job: Job) -> Watch | None:
    candidates, picking, _ = job.evaluation_split()
    count = job.spec.evaluation.watch
    return Watch(examples=candidates.take(watched(picking, count)), attack=job.spec.attack) if count else None


def _examples(classifier: Classifier, shown: Examples, spec: Spec) -> dict[str, np.ndarray]:
    """Images `(n, h, w, c)`, their adversarial examples by PGD-10, and the predicted classes of both."""
    images = shown.float_images(np.arange(len(shown)))
    adversarial = classifier.perturb(images, shown.labels, spec.attack.probe)
    return {
        "label": shown.labels,
        "image": images,
        "adversarial": adversarial,
        "predicted": classifier.logits(images).argmax(1),
        "predicted_adversarial": classifier.logits(adversarial).argmax(1),
    }
