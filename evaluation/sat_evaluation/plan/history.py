"""Rates from what earlier runs on this machine took."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np

from sat_core.arm_results import ArmResults
from sat_core.errors import SatError
from sat_core.network_cost import GRADIENT, STEP, network_cost
from sat_core.spec import Spec
from sat_evaluation.plan.cache import Taken, numbers_of
from sat_evaluation.plan.devices import device_name
from sat_evaluation.plan.facts import Facts
from sat_evaluation.plan.queries import asked, planned_attacks
from sat_evaluation.plan.rates import HISTORY, Rates, RateSource, setting_of
from sat_evaluation.plan.work import arm_work, head_work

_LIKE = ("model", "image_shape", "classes", "precision", "threads", "compile", "engine")
"""What has to be the same for rates to be taken as they are, where another batch size was trained with."""
_ANYWHERE = ("precision", "threads", "compile", "engine")
"""What has to be the same for the rates of another network, scaled by its FLOPs."""
ENOUGH = 3
"""Trainings of the same setting that are surer than a measurement."""
_LEAST = 1.2
"""Times are not expected within a smaller factor than this, however alike earlier runs are: machines are shared."""
_FEW, _OTHER_BATCH, _OTHER_NETWORK = 1.25, 1.5, 3.0
"""Times the factor of `_fitted`: fewer than `ENOUGH` trainings, which nearly fit themselves; others than planned."""
_PULL = 0.1
"""Weight of what is taken for granted about the rates' proportions, against one training that was measured."""
_FIXED = 0.3
"""Share of a step's time that is taken to be fixed, where measurements do not say."""


def taken_by(results: ArmResults) -> Taken | None:
    """Return what a finished arm took; None for one that was broken off, taken over, or has other settings."""
    try:
        spec = Spec.from_tables(results.spec)
    except SatError:  # of a plug-in that is not loaded
        return None
    data, cost = results.data, results.cost
    facts = Facts(
        name=data.name, train=data.train, test=data.test, classes=len(data.classes), image_shape=data.image_shape
    )
    if results.reused or set(results.devices) != {1} or results.attacks.engine != spec.evaluation.engine:
        return None
    head = results.source is not None
    share = results.trained.split.share
    work = head_work(spec, facts, share) if head else arm_work(spec, facts, results.split.size)
    done = results.epochs / spec.training.epochs
    steps, _, attack_steps, _, forwards = numbers_of(work)
    numbers = (steps * done, 0 if head else cost.training_gradients, attack_steps * done, cost.attack_gradients)
    planned = planned_attacks(spec.evaluation.selection_attacks, spec, facts)
    checks = [0.0, 0.0]
    for check in results.selection.checks:
        made = asked(planned, spec, facts, check.robust.all.n, check.clean.all.value, [check.robust.all.value])
        checks = [checks[0] + made.calls, checks[1] + made.passes]
    breakdown = results.attacks.breakdown
    left = [outcome.robust_accuracy for outcome in breakdown]
    settings = tuple(outcome.settings for outcome in breakdown)
    n = results.robust_accuracy.n
    report = asked(settings, spec, facts, n, results.clean_accuracy.value, left)
    seconds = {stage: value or 0.0 for stage, value in cost.seconds.items()}
    spent = sum(seconds.get(stage, 0.0) for stage in ("training", "features", "watch"))
    if not spent or not seconds.get("evaluation"):
        return None
    network = network_cost(spec.model.name, data.image_shape, len(data.classes))
    return Taken(
        device=device_name(results.device),
        backend=results.backend,
        setting=attrs.asdict(setting_of(spec, facts)),
        forward_flops=network.forward_flops if network else 0,
        work=(*numbers, forwards * done),
        seconds=spent,
        checks=(*checks, seconds.get("selection", 0.0)),
        report=(report.calls, report.passes, seconds["evaluation"]),
    )


def history_rates(taken: Sequence[Taken], device: str, backend: str, *, enough: int = 0) -> RateSource:
    """Return a source of rates by what earlier trainings took: of the same setting, else of the nearest one.

    Args:
        taken: Of this machine.
        device: Name of the device, see `sat_evaluation.plan.devices.device_name`.
        backend: Name of the backend.
        enough: If given, so many trainings of the same setting are asked for, and others do not count.
    """
    own = [each for each in taken if each.device == device and each.backend == backend]
    # AutoAttack asks nothing of a network that is right on no image, and its seconds then say nothing
    own = [each for each in own if min(each.report) > 0]

    def rates(spec: Spec, facts: Facts) -> Rates | None:
        wanted = attrs.asdict(setting_of(spec, facts))
        wanted["image_shape"] = list(wanted["image_shape"])
        same = [each for each in own if _alike(each, wanted, (*_LIKE, "batch_size"))]
        if same and len(same) >= enough:
            factor = 1.0 if len(same) >= ENOUGH else _FEW
            return _fitted(same, wanted["batch_size"], 1.0, factor, "this setting")
        if enough:
            return None
        like = [each for each in own if _alike(each, wanted, _LIKE)]
        if like:
            return _fitted(like, wanted["batch_size"], 1.0, _OTHER_BATCH, "another batch size")
        cost = network_cost(spec.model.name, facts.image_shape, facts.classes)
        others = [each for each in own if each.forward_flops and _alike(each, wanted, _ANYWHERE)]
        if cost is None or not others:
            return None
        nearest = min(others, key=lambda each: abs(math.log(cost.forward_flops / each.forward_flops))).forward_flops
        others = [each for each in others if each.forward_flops == nearest]
        times = cost.forward_flops / nearest
        return _fitted(others, wanted["batch_size"], times, _OTHER_NETWORK, "another network, scaled by its FLOPs")

    return rates


def _alike(taken: Taken, wanted: dict[str, object], keys: Sequence[str]) -> bool:
    there = {key: list(value) if isinstance(value, tuple) else value for key, value in taken.setting.items()}
    return all(there.get(key) == wanted[key] for key in keys)


def _fitted(taken: Sequence[Taken], batch_size: int, times: float, factor: float, what: str) -> Rates:
    """Fit rates to trainings by least squares of relative errors; none is negative.

    times: what the images of another network cost, in units of those of these trainings.
    """
    work, seconds = np.array([each.work for each in taken], float), np.array([each.seconds for each in taken])
    # what is known without a measurement: passes of a step and of a gradient, and that batches have a fixed cost
    shape = np.array([_FIXED * STEP * batch_size, STEP, _FIXED * GRADIENT * batch_size, GRADIENT, 1.0])
    step, training, attack_step, attack, forward = _least_squares(work, seconds, shape)
    rows = np.array([row for each in taken for row in (each.checks, each.report) if row[2] > 0 and row[1] > 0])
    call, query = _least_squares(
        rows[:, :2], rows[:, 2], np.array([_FIXED * float(np.median(rows[:, 1] / rows[:, 0])), 1])
    )
    errors = [
        *np.log(np.maximum(work @ [step, training, attack_step, attack, forward], 1e-9) / seconds),
        *np.log(np.maximum(rows[:, :2] @ [call, query], 1e-9) / rows[:, 2]),
    ]
    spread = math.exp(2 * float(np.sqrt(np.mean(np.square(errors)))))
    trainings = f"{len(taken)} training{'s' if len(taken) > 1 else ''}"
    return Rates(
        step=step,
        training=training * times,
        attack_step=attack_step,
        attack=attack * times,
        forward=forward * times,
        call=call,
        query=query * times,
        source=HISTORY,
        detail=f"{trainings} on this machine, of {what}",
        factor=factor * max(_LEAST, min(spread, 3.0)),
    )


def _least_squares(work: np.ndarray, seconds: np.ndarray, shape: np.ndarray) -> list[float]:
    """Return seconds for each kind of work, `(k,)`, not negative, that fit `seconds`, `(n,)`, by relative error.

    What the trainings leave open is in the proportions of `shape`, `(k,)`.
    """
    from scipy.optimize import nnls

    start = shape * float(np.median(seconds / (work @ shape)))
    rows = work * start / seconds[:, None]
    pull = _PULL * np.eye(len(shape))
    solution, _ = nnls(np.concatenate([rows, pull]), np.concatenate([np.ones(len(rows)), _PULL * np.ones(len(shape))]))
    return [float(each) for each in solution * start]
