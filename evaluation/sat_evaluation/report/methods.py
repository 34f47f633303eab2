"""A paragraph on how a run was made, for a paper: every number in it comes from the settings and results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sat_core.version import VERSION
from sat_evaluation.report.citations import AUTOATTACK, METHOD, cited
from sat_evaluation.results.compared import depends
from sat_evaluation.results.rows import Row, attacks_of
from sat_evaluation.results.text import epsilon, percent, public_name, shown

_LISTED = 8
"""Values of a setting that are listed; of more, the smallest and the largest are named."""


def methods(rows: Sequence[Row]) -> str:
    """Return a paragraph on data, network, training, split, attack and evaluation of some arms.

    Args:
        rows: At least one arm of a study or a transfer.
    """
    return " ".join([*_data(rows), *_training(rows), *_split(rows), *_attack(rows), *_evaluation(rows), *_made(rows)])


def _data(rows: Sequence[Row]) -> Iterator[str]:
    first = rows[0]
    data, trained = first.results.data, first.results.trained.data
    h, w, c = trained.image_shape
    name = shown(public_name(trained.name), 60)
    channels = "one channel" if c == 1 else f"{c} channels"
    model = _joined(dict.fromkeys(shown(public_name(str(row.spec["model.name"])), 60) for row in rows))
    yield (
        f"We trained {model} on {name}{cited('data', [trained.name])} ({trained.train:,} training and "
        f"{trained.test:,} test images of {h} x {w} pixels and {channels}, {len(trained.classes)} classes)."
    )
    if first.source:
        yield (
            f"Its features were then frozen, and a head with one hidden layer was trained on {data.train:,} clean "
            f"images of {shown(public_name(data.name), 60)}{cited('data', [data.name])}; robustness is on the target."
        )


def _training(rows: Sequence[Row]) -> Iterator[str]:
    def of(key: str) -> str:
        return _values(rows, f"training.{key}")

    sgd = "sgd" in of("optimizer")
    more = [f"momentum {of('momentum')}"] * sgd + [f"weight decay {of('weight_decay')}"]
    for key, words in (("augmentation", "augmentation"), ("mixing", "mixing"), ("averaging", "averaging of weights")):
        more += [] if of(key) == "none" else [f"{words} {of(key)}"]
    more += [] if of("awp") == "0" else [f"adversarial weight perturbation with γ = {of('awp')}"]
    seeds = sorted({row.spec["training.seed"] for row in rows})
    runs = f"{len(seeds)} seeds ({_listed(seeds)})" if len(seeds) > 1 else f"one seed ({seeds[0]})"
    yield (
        f"Training took {of('epochs')} epochs of {of('optimizer').upper()} in batches of {of('batch_size')} with a "
        f"learning rate of {of('lr')}, schedule {of('schedule')}, {', '.join(more)}, in {of('precision')}, with {runs}."
    )


def _split(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        f"Subset adversarial training [{METHOD}] divides the training set into A, whose images are replaced by "
        "adversarial examples, and the rest B, which is trained on as it is."
    )
    chosen = [row for row in rows if not row.baseline]
    if chosen:
        shares = sorted({row.share for row in chosen})
        strategies = _joined(dict.fromkeys(shown(row.chosen) for row in chosen))
        kinds = _joined(dict.fromkeys(row.kind for row in chosen))
        held = _listed([percent(share) for share in shares])
        yield f"A was made of {kinds} (strategy: {strategies}) and held {held} of the training images."
        ranked = [row for row in chosen if row.results.trained.cost.ranking_gradients or row.spec.get("ranking.file")]
        if ranked and not ranked[0].spec.get("ranking.file"):
            yield (
                f"Difficulty was the {_values(ranked, 'ranking.metric')} of the outputs of a network trained without "
                f"attacks for {_values(ranked, 'ranking.epochs')} epochs, averaged over epochs "
                f"({_values(ranked, 'ranking.record')})."
            )
        rules = _values(chosen, "weighting.rule")
        yield f"The loss had {rules} weights of A and B."
    there = [row.baseline.label for row in rows if row.baseline]
    if there:
        yield f"Baselines were {_joined(dict.fromkeys(there))}."


def _attack(rows: Sequence[Row]) -> Iterator[str]:
    attacked = [row for row in rows if row.size]
    if not attacked:
        return
    kinds = dict.fromkeys(str(row.spec["attack.kind"]) for row in attacked)
    losses = dict.fromkeys(str(row.spec["loss.kind"]) for row in attacked)
    loss = "" if list(losses) == ["ce"] else f", with the loss {_joined(losses)}{cited('loss', losses)} on A"
    threats = dict.fromkeys(
        f"{row.spec['attack.norm']} ball of ε = {epsilon(row.spec['attack.eps'])}" for row in attacked
    )
    sizes = dict.fromkeys(epsilon(row.spec["attack.step_size"]) for row in attacked)
    yield (
        f"Adversarial examples in training were made by {_joined(kinds)}{cited('attack', kinds)} in "
        f"{_values(attacked, 'attack.steps')} steps of {_joined(sizes)} in an {_joined(threats)}{loss}."
    )


def _evaluation(rows: Sequence[Row]) -> Iterator[str]:
    first = rows[0]
    selection = first.results.selection
    picked = selection.attacks if isinstance(selection.attacks, str) else " + ".join(selection.attacks)
    checked = {check.robust.all.n for row in rows for check in row.results.selection.checks}
    packages = dict.fromkeys(row.results.attacks.package for row in rows)
    n = sorted({row.n for row in rows})
    threats = _joined(dict.fromkeys(row.threat for row in rows))
    yield (
        f"The epoch was picked by robust accuracy under {shown(picked, 80)} on {_listed(sorted(checked))} images. "
        f"Robust accuracy is the share of n = {_listed(n)} other test images that are classified correctly as they are "
        f"and under {attacks_of(rows)} [{AUTOATTACK}] ({threats}; {_joined(packages)}); intervals are 95 % "
        "Wilson intervals."
    )


def _made(rows: Sequence[Row]) -> Iterator[str]:
    protocols = _joined(dict.fromkeys(str(row.spec.get("protocol", "paper")) for row in rows))
    versions: dict[str, None] = {}
    for row in rows:
        for name, version in row.results.versions.items():
            if name in ("torch", "tensorflow"):
                versions[f"{name} {version}"] = None
    devices = _joined(dict.fromkeys(shown(row.results.device) for row in rows))
    frameworks = f" on {_joined(versions)}" if versions else ""
    yield (
        f"Unless said otherwise, settings follow the protocol “{protocols}” of sat-core {VERSION}{frameworks} "
        f"({devices})."
    )


def _values(rows: Sequence[Row], key: str) -> str:
    """The values of a setting among the arms that depend on it."""
    own = [row.spec.get(key, "") for row in rows if depends(key, row.baseline)] or [rows[0].spec.get(key, "")]
    return _joined(dict.fromkeys(_number(value) for value in own))


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else shown(value, 60)


def _joined(values: dict[str, None]) -> str:
    return _listed(list(values))


def _listed(values: Sequence[object]) -> str:
    words = [str(value) for value in values]
    if len(words) > _LISTED:
        return f"{words[0]} to {words[-1]} ({len(words)} values)"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
