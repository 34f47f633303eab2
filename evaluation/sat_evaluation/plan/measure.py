"""Measures a device for less than a minute: training steps with and without attacks, and the attacks of AutoAttack.

The only module of this room that computes with a backend. Images are noise of the right shape: neither steps nor
attacks take longer or shorter for it, and no data are loaded.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median

import attrs
import numpy as np

from sat_core.autoattack import AttackSettings
from sat_core.backend import Backend, get_backend
from sat_core.classifier import Classifier
from sat_core.data import DataSet, Examples
from sat_core.evaluator import get_evaluator
from sat_core.job import Job
from sat_core.network_cost import GRADIENT, STEP
from sat_core.resolve import resolve
from sat_core.run_folder import RunFolder
from sat_core.sections import SubsetSpec
from sat_core.spec import Spec
from sat_core.splits import make_split
from sat_core.study import Study
from sat_core.unit_folder import UnitFolder
from sat_evaluation.attack.plan import queries_and_price
from sat_evaluation.plan.devices import device_name
from sat_evaluation.plan.facts import Facts, facts_of
from sat_evaluation.plan.kept_rates import KeptRates, keep_rates, rates_by_setting
from sat_evaluation.plan.queries import BATCH_SIZE, planned_attacks
from sat_evaluation.plan.rates import MEASURED, Rates, RateSource, Setting, setting_of
from sat_evaluation.plan.units import ARM, HEAD, study_units
from sat_evaluation.plan.work import evaluated_images, training_gradients

EACH = 20.0
"""Seconds that a setting is measured for, at most."""
LIMIT = 45.0
"""Seconds that a measurement may take, for all settings of a study together; with the framework's start, a minute."""
FACTOR = 1.25
"""Within which factor measured times are expected: arms differ in how robust they are, and machines are shared."""
_FIXED = 0.3
"""Share of a plain training step that is taken to be fixed: only heads, whose steps have no network, look at it."""
_BATCHES, _REPEATS = 8, 3


def measured_rates(study: Study, backend: str | None, device: str, limit: float = LIMIT) -> RateSource:
    """Measure each setting of a study's arms, keep the rates in the user's cache, and return a source of them.

    Args:
        study: What is to be run.
        backend, device: As in `Study.run`.
        limit: Seconds for all of it; settings that it does not reach are left out.

    Raises:
        SatError: The backend, the data set or the network does not exist.
    """
    computing = get_backend(backend, device)
    asked = study.base.training.precision
    study = resolve(study, RunFolder("."), computing) if asked == "auto" else study
    facts = facts_of(study.base.data.name)
    units = [unit for unit in study_units(study, facts) if unit.kind != HEAD]
    # a ranking may have a network of its own; else an arm stands for it
    specs = {setting_of(unit.spec, facts): unit.spec for unit in sorted(units, key=lambda unit: unit.kind == ARM)}
    end = time.monotonic() + limit
    known: dict[Setting, Rates] = {}
    for number, (setting, spec) in enumerate(specs.items()):
        left = end - time.monotonic()
        if number and left < 2:
            break
        known[setting] = _measure(computing, spec, facts, min(left / (len(specs) - number), EACH))
        known[attrs.evolve(setting, precision=asked)] = known[setting]  # plans ask for "auto", and runs for what it is

    name = device_name(computing.device)
    keep_rates([KeptRates(name, computing.name, setting, rates) for setting, rates in known.items()])
    return rates_by_setting(known)


def _measure(backend: Backend, spec: Spec, facts: Facts, budget: float) -> Rates:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sat-measure-") as folder, backend.session(spec.training):
        job = Job(spec=spec, data=_noise(spec, facts), backend=backend, folder=UnitFolder(folder))
        classifier = job.build()
        cost = classifier.cost()
        step, training, attack_step, attack = training_rates(spec, *_steps(job, classifier, budget / 2))
        images = job.data.train.images[: spec.training.batch_size]
        classifier.logits(images)
        forward = _timed(lambda: classifier.logits(images), _clock(job)) / len(images)
        attacks = tuple(_attacks(job, classifier, facts, begin + budget))
    return Rates(
        step=step,
        training=training,
        attack_step=attack_step,
        attack=attack,
        forward=forward,
        call=median(call for _, call, _ in attacks),
        query=median(query for _, _, query in attacks),
        attacks=attacks,
        source=MEASURED,
        detail=f"{time.monotonic() - begin:.0f} s on {device_name(backend.device)} with {backend.name}",
        factor=FACTOR,
        cost=cost,
    )


def training_rates(
    spec: Spec, plain: float, few: float, many: float, members: float
) -> tuple[float, float, float, float]:
    """Return `step`, `training`, `attack_step` and `attack` of `Rates`, by the seconds of three kinds of steps.

    Args:
        spec: Of the arm.
        plain, few, many: Seconds of a step without members of A, with few, and with members only.
        members: How many few are, in the mean.
    """
    batch, passes, replays = spec.training.batch_size, spec.attack.passes, spec.attack.replays
    step, of_image = _FIXED * plain / replays, (1 - _FIXED) * plain / batch / replays
    if passes == 0:  # Free-AT has no attack of its own, but rates are kept for arms with another attack, too
        return step, of_image, GRADIENT / STEP * step, GRADIENT / STEP * of_image

    def of_attack(seconds: float, attacked: float) -> float:
        # some losses and AWP cost further training gradients, which are counted as such, where members are
        more = training_gradients(spec, batch, attacked) - training_gradients(spec, batch, 0)
        return seconds - plain - of_image * more

    attack = 0.0
    if batch > members:
        attack = max(0.0, (of_attack(many, batch) - of_attack(few, members)) / (passes * (batch - members)))
    return step, of_image, max(0.0, of_attack(few, members) / passes - attack * members), attack


def _noise(spec: Spec, facts: Facts) -> DataSet:
    size = max(_BATCHES * spec.training.batch_size, facts.classes)
    rng = np.random.default_rng(0)
    channels = facts.image_shape[2]

    def part(number: int, name: str) -> Examples:
        images = rng.integers(0, 256, (number, *facts.image_shape), np.uint8)
        return Examples(images, np.arange(number) % facts.classes, facts.classes, name)

    return DataSet(
        name=facts.name,
        train=part(size, "noise for training"),
        test=part(max(BATCH_SIZE, facts.classes), "noise for testing"),
        class_names=tuple(map(str, range(facts.classes))),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )


def _steps(job: Job, classifier: Classifier, budget: float) -> tuple[float, float, float, float]:
    """Return the seconds of a step without members of A, with few, and with members only, and how many few are."""
    clock, seconds, members = _clock(job), [], 0.0
    for share in (0.0, 0.125, 1.0):
        split = make_split(SubsetSpec(size=share, strategy="random"), "uniform", job.data)
        plan = job.planner(split).epoch(0)
        trainer = job.trainer(classifier, None)
        trainer.begin(plan)
        trainer.step(0)
        trainer.losses(0, 1)
        times: list[float] = []
        end = time.monotonic() + budget / 3
        # each repetition is a few steps together: devices work ahead of the CPU
        while not times or (time.monotonic() < end and len(times) < 10 * _REPEATS):
            start, first, last = clock(), 0, min(_BATCHES, plan.steps)
            trainer.begin(plan)
            for step in range(first, last):
                trainer.step(step)
            trainer.losses(first, last)
            times.append((clock() - start) / (last - first))
        seconds.append(min(times))
        if 0 < share < 1:
            members = float(plan.members.mean())
    return seconds[0], seconds[1], seconds[2], members


def _clock(job: Job) -> Callable[[], float]:
    """Return what tells the time: of one thread on a CPU its own, in which other programs do not count."""
    alone = job.backend.device == "cpu" and job.spec.training.threads == 1
    return time.process_time if alone else time.perf_counter


def _timed(function: Callable[[], object], clock: Callable[[], float]) -> float:
    times = []
    for _ in range(_REPEATS):
        start = clock()
        function()
        times.append(clock() - start)
    return min(times)


def _attacks(job: Job, classifier: Classifier, facts: Facts, end: float) -> Iterator[tuple[str, float, float]]:
    """Yield for each attack its name, and the seconds of a call and of a forward pass of one image in it."""
    spec, evaluation = job.spec, job.spec.evaluation
    settings = [
        each
        for attacks in (evaluation.attacks, evaluation.selection_attacks)
        for each in planned_attacks(attacks, spec, facts)
    ]
    by_name = {each.name: each for each in settings}
    images = np.asarray(job.data.test.images)
    many = min(BATCH_SIZE, evaluated_images(evaluation, facts)[1], len(images))
    for number, (name, attack) in enumerate(by_name.items()):
        left = max(end - time.monotonic(), 1.0) / (len(by_name) - number)
        # so many that both lengths at both sizes fit, by the time of a gradient
        predicted = classifier.logits(images[:many]).argmax(1)
        # the first compiles: by its time only a few images would fit, whose times are mostly noise
        classifier.loss_gradient(images[:many], predicted)
        start = time.perf_counter()
        classifier.loss_gradient(images[:many], predicted)
        once = time.perf_counter() - start
        size = max(4, min(many, int(many * left / (200 * once))))
        large, price = _slope(job, classifier, attack, images[:size], facts)
        small, _ = _slope(job, classifier, attack, images[: max(2, size // 4)], facts)
        of_image = max((large - small) / (size - max(2, size // 4)), 0.05 * large / size)
        yield name, max(0.0, large - of_image * size), of_image / price


def _slope(
    job: Job, classifier: Classifier, attack: AttackSettings, images: np.ndarray, facts: Facts
) -> tuple[float, float]:
    """Return the seconds of a further query of all images, and the price of a query in forward passes."""
    spec = job.spec
    # labels as predicted, and a ball in which nothing is broken: all images stay under attack
    labels = classifier.logits(images).argmax(1)
    seconds: list[float] = []
    asked: list[int] = []
    for length in (4, 16):
        shorter = attrs.evolve(
            attack,
            iterations=None if attack.iterations is None else length,
            queries=None if attack.queries is None else 5 * length,
            restarts=1,
            target_classes=None if attack.target_classes is None else 1,
        )
        queries, price = queries_and_price(shorter, facts.classes, spec.evaluation.engine)

        def run(shorter: AttackSettings = shorter) -> object:
            return get_evaluator()(
                classifier,
                images,
                labels,
                norm=spec.attack.norm,
                eps=1e-3 * spec.attack.eps,
                attacks=(shorter,),
                engine=spec.evaluation.engine,
            )

        if not seconds:
            run()  # the first compiles, imports and allocates
        seconds.append(_timed(run, _clock(job)))
        asked.append(queries)
    return max(seconds[1] - seconds[0], 1e-9) / (asked[1] - asked[0]), price
