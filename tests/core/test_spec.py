"""Settings: defaults, protocols, and one clear message for each wrong value."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from sat_core.advice import advice
from sat_core.attack_spec import AttackSpec
from sat_core.errors import SpecError
from sat_core.grids import TRANSFER_KEYS
from sat_core.protocols import PROTOCOLS
from sat_core.schedules import parse_schedule
from sat_core.spec import KEYS, SECTIONS, Spec
from sat_core.study import Study
from sat_core.tables import flatten, nest

PLAIN: dict[str, Any] = {"data": {"name": "digits"}, "training": {"epochs": 12}}


def with_key(key: str, value: Any) -> dict[str, Any]:
    return nest({**flatten(PLAIN), key: value})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("attack.eps", -0.1, "attack.eps: expected a finite number >= 0, got -0.1"),
        ("attack.eps", float("nan"), "attack.eps: expected a finite number >= 0, got nan"),
        ("attack.eps", "8/0", "attack.eps: expected a finite number >= 0, got '8/0'"),
        ("attack.eps", True, "attack.eps: expected a finite number >= 0, got True"),
        ("attack.steps", 0, "attack.steps: expected an integer >= 1, got 0"),
        ("attack.steps", 7.0, "attack.steps: expected an integer >= 1, got 7.0"),
        ("attack.steps", True, "attack.steps: expected an integer >= 1, got True"),
        ("attack.norm", "l2", "attack.norm: expected one of L2, Linf (did you mean 'L2'?), got 'l2'"),
        ("attack.kind", "pdg", "did you mean 'pgd'?"),
        ("attack.stepz", 7, "unknown key 'attack.stepz' (did you mean 'attack.steps'?)"),
        ("trainnig.epochs", 7, "unknown key 'trainnig' (did you mean 'training'?)"),
        ("subset.size", 1.5, "subset.size: expected a count >= 0 (integer) or a share in [0, 1]"),
        ("subset.size", -1, "got -1"),
        ("subset.size", "half", "got 'half'"),
        ("subset.strategy", "listed", 'needs subset.kind = "classes"'),
        ("subset.classes", [1], 'needs subset.strategy = "listed"'),
        ("training.epochs", 0, "training.epochs: expected an integer >= 1, got 0"),
        ("training.momentum", 1.5, "training.momentum: expected a number in [0, 1), got 1.5"),
        ("training.schedule", "piecewize", "training.schedule: expected one of piecewise, step, cosine"),
        ("training.schedule", "cosine:3", "training.schedule: expected one of piecewise, step, cosine"),
        ("training.schedule", "piecewise:1,x", "training.schedule: expected one of piecewise, step, cosine"),
        ("training.augmentation", "cifar10", "did you mean 'cifar'?"),
        ("training.precision", "float16", "one of float32, tf32, bf16, fp16, float64"),
        ("training.compile", 1, "training.compile: expected true or false, got 1"),
        (
            "evaluation.attacks",
            "apgd-ce",
            "evaluation.attacks: expected one of screening, standard, plus, or a list of",
        ),
        ("evaluation.attacks", ["apgd-ce", "apgd-ce"], "evaluation.attacks"),
        (
            "evaluation.selection_share",
            0,
            "evaluation.selection_share: expected a share in (0, 0.9], or a count >= 1, got 0",
        ),
        ("evaluation.selection_share", 1.0, "evaluation.selection_share: expected a share"),
        ("evaluation.examples", 0, 'a count >= 1, a share of the validation set in (0, 1], or "rest"'),
        ("evaluation.selection_epochs", [0], 'a list of epochs >= 1, or "protocol"'),
        ("evaluation.selection_epochs", [True], 'a list of epochs >= 1, or "protocol"'),
        ("training.schedule", "piecewise:1.5", "training.schedule: expected one of piecewise, step, cosine"),
        ("training.schedule", "piecewise:0.5steps", "training.schedule: expected one of piecewise, step, cosine"),
        (
            "training.schedule",
            "piecewise:5*2",
            "or drops as in 'piecewise:100,150', 'piecewise:39000steps' or 'step:30",
        ),
        ("training.schedule", "step:3,4", "training.schedule: expected one of piecewise, step, cosine"),
        ("training.schedule", "step:0.5", "training.schedule: expected one of piecewise, step, cosine"),
        (
            "training.warmup",
            -1,
            "training.warmup: expected a number of epochs >= 0, or of steps as in '500steps', got -1",
        ),
        (
            "attack.warmup",
            "5.5steps",
            "attack.warmup: expected a number of epochs >= 0, or of steps as in '500steps', got",
        ),
        ("training.warmup", "5 steps", "or of steps as in '500steps', got '5 steps'"),
        ("loss.class_weights", [1.0, -1], "loss.class_weights: expected none, balanced, or a list of one number > 0"),
        ("loss.beta", [1, 2, 3], "loss.beta: expected a finite number >= 0, or two: of the first and of the last step"),
        ("loss.beta", 6, "loss.beta: 'ce' has no second term"),
        ("training.averaging", "ema:1", "training.averaging: expected none, ema:D with D in (0, 1), or swa:S"),
        ("training.mixing", "mixup", "training.mixing: expected none, mixup:α or cutmix:α with α > 0"),
        ("training.micro_batches", 3, "training.micro_batches: expected a divisor of training.batch_size = 128, got 3"),
        ("attack.replays", 2, 'attack.replays: needs attack.kind = "free"'),
        ("training.seed", 2**64, "training.seed: expected an integer >= 0"),
        ("protocol", "papers", "unknown protocol 'papers' (did you mean 'paper'?)"),
        ("data.name", 3, "data.name: expected text, got 3"),
    ],
)
def test_wrong_values_are_refused_in_a_line_or_two(key: str, value: Any, says: str) -> None:
    with pytest.raises(SpecError) as error:
        Spec.from_tables(with_key(key, value))
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"attack.norm": "Linf", "attack.eps": 8}, "attack.eps: expected less than 1, the Linf diameter of images"),
        ({"attack.norm": "Linf", "attack.eps": 8}, "got 8; did you mean 8/255?"),
        ({"attack.norm": "Linf", "attack.eps": 1.0}, "did you mean 1/255?"),
        ({"attack.norm": "Linf", "attack.step_size": 2}, "attack.step_size: expected less than 1"),
        ({"attack.step_size": 0}, "attack.step_size: expected a number > 0, got 0"),
        ({"attack.steps": 1, "attack.keep_best": True}, "attack.keep_best: expected false with attack.steps = 1"),
        ({"attack.kind": "fgsm", "attack.keep_best": True}, "attack.keep_best: expected false"),
        ({"training.lr": 0}, "training.lr: expected a number > 0, got 0"),
        ({"training.momentum": 1}, "training.momentum: expected a number in [0, 1), got 1.0"),
        ({"training.weight_decay": 5}, "training.weight_decay: expected less than 1 with training.lr = 0.1"),
        ({"training.weight_decay": 10, "training.optimizer": "adamw"}, "training.weight_decay: expected less than 10"),
    ],
)
def test_settings_that_make_another_experiment_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as error:
        Spec.from_tables(nest({**flatten(PLAIN), **keys}))
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


def test_defaults_of_the_attack_follow_norm_and_steps() -> None:
    assert AttackSpec(norm="Linf") == AttackSpec(norm="Linf", eps="8/255", step_size="2/255")
    assert AttackSpec(norm="L2", eps=8).eps == 8.0  # which is small for large images
    one = {**PLAIN, "protocol": "authors", "attack": {"steps": 1}}
    assert not Spec.from_tables(one).attack.keep_best  # x0 would be the best of x0
    assert AttackSpec(kind="rs-fgsm", keep_best=True).keep_best


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


ODD = {
    "nothing": None,
    "true": True,
    "minus one": -1,
    "5000 digits": 10**5000,
    "1e999": float("1e999"),
    "text of 1e999": "1e999",
    "text of 1e999999999": "1e999999999",  # which takes all memory as a fraction
    "text of nan": "nan",
    "one by almost nothing": "1/1e-999",
    "no text": "",
    "long text": "x" * 3000,
    "long path": "npz:" + "y" * 3000,
    "long list": list(range(100_000)),
    "long schedule": "piecewise:" + "1," * 3000,
    "list of nothing": [[]],
    "nested list": nested(200),
    "table": {"a": 1},
    "list of tables": [{}],
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_no_value_of_any_key_is_a_defect_or_echoed_whole(odd: Any) -> None:
    base = {"data.name": "digits", "training.epochs": 2, "subset.kind": "classes", "transfer.targets": ["digits"]}
    messages = []
    for tables in (
        *({"protocol": protocol, **base, key: odd} for protocol in PROTOCOLS for key in (*KEYS, *TRANSFER_KEYS)),
        *({**base, f"grid.{key}": [odd]} for key in KEYS),
        *({**base, section: odd} for section in ("grid", "transfer", "training", "nothing", "x" * 3000)),
    ):
        try:
            Study.from_tables(nest(tables))
        except SpecError as error:
            messages.append(str(error))
    assert max(map(len, messages), default=0) < 700
    assert max((len(text.splitlines()) for text in messages), default=0) <= 3


@pytest.mark.parametrize(
    ("keys", "size", "says"),
    [
        ({}, 80, None),
        ({"subset.size": 0}, 0, None),
        ({"subset.size": 0.001}, 0, "subset.size: 0.001 of the examples is less than one: A is empty"),
        ({"subset.kind": "classes", "subset.size": 0.05}, 0, "subset.size: 0.05 of the classes is less than one"),
        ({"subset.size": 1}, 1, "subset.size: 1 is one example"),
        ({"subset.kind": "classes", "subset.size": 1}, 80, None),
        ({"attack.eps": 0}, 80, "attack.eps: with 0 no image is changed"),
        ({"attack.eps": 0, "subset.size": 0}, 0, None),
        ({"attack.steps": 3}, 80, "attack.step_size: the steps add up to 0.3, which is less than eps = 0.5"),
        ({"attack.steps": 3, "attack.random_start": True}, 80, None),
        ({"training.schedule": "piecewise:100,150"}, 80, "training.schedule: piecewise:100,150 has no drop within 12"),
        ({"training.schedule": "piecewise:11steps"}, 80, None),  # a drop in the last epoch
        ({"training.warmup": 12}, 80, "training.warmup: the rate rises until the last step of 12 epochs"),
        ({"training.warmup": "7steps"}, 80, "training.warmup: it ends after the first drop"),
        ({"training.warmup": 6}, 80, None),
        ({"training.warmup": 1, "training.schedule": "one-cycle"}, 80, "training.warmup: one-cycle has a rise"),
        ({"training.averaging": "swa:0.75"}, 80, None),
        ({"training.averaging": "swa:0.84"}, 80, "training.averaging: swa:0.84 begins after the last drop"),
        ({"training.averaging": "swa:0.95"}, 80, "training.averaging: swa:0.95 is the last of 12 epochs alone"),
        ({"training.averaging": "ema:0.9"}, 80, None),
        ({"training.patience": 2}, 80, "training.patience: 2 checks without an improvement cannot come before the"),
        ({"training.patience": 1}, 80, None),  # 7, 10 and 12 are checked
        ({"attack.warmup": 12}, 80, "attack.warmup: ε is not reached before the last step of 12 epochs"),
        ({"attack.warmup": "12steps"}, 80, "attack.warmup: ε is not reached before the last step of 12 epochs"),
        ({"attack.warmup": "11steps"}, 80, None),
        ({"attack.warmup": 12, "subset.size": 0}, 0, None),
        ({"loss.kind": "trades", "loss.beta": 0}, 80, "loss.beta: with 0 adversarial examples are made"),
        ({"subset.rerank": 12}, 80, "subset.rerank: A is never chosen anew within 12 epochs"),
        ({"evaluation.selection_epochs": [12, 50]}, 80, "evaluation.selection_epochs: 50 is past the end"),
        ({"evaluation.examples": 1}, 80, "evaluation.examples: 1 is one image"),
        ({"evaluation.selection_share": 1}, 80, "evaluation.selection_share: 1 is one image"),
    ],
)
def test_what_is_hardly_wanted_is_warned_of(keys: dict[str, Any], size: int, says: str | None) -> None:
    warnings = advice(Spec.from_tables(nest({**flatten(PLAIN), **keys})), size, 160)
    assert len(warnings) == (says is not None)
    assert "".join(warnings).startswith(says or "")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(
        SpecError, match=r"data\.name: expected a value, got none; add it to \[data\], or \"saved:NAME\" if"
    ):
        Spec.from_tables({"training": {"epochs": 1}})
    with pytest.raises(SpecError, match=r"training\.epochs: expected a value"):
        Spec.from_tables({"data": {"name": "digits"}})


def test_epsilon_as_a_fraction_and_attacks_by_kind() -> None:
    assert AttackSpec(norm="Linf", eps="8/255").eps == 8 / 255
    assert AttackSpec(eps=0.5) == AttackSpec(kind="pgd", norm="L2", eps=0.5, steps=7, step_size=0.1)
    assert AttackSpec(kind="fgsm", eps=0.5).step_size == 0.5
    rs = AttackSpec(kind="rs-fgsm", eps=3.0)
    assert (rs.steps, rs.step_size, rs.random_start, rs.keep_best) == (1, 3.75, True, False)
    assert AttackSpec(eps=0).eps == 0.0
    with pytest.raises(SpecError, match=r"attack\.steps: expected 1 for 'fgsm'"):
        AttackSpec(kind="fgsm", steps=7)


@pytest.mark.parametrize(
    ("given", "changes", "expected"),
    [
        ({"eps": 0.5}, {"eps": 0.25}, {"step_size": 0.05}),
        ({"eps": 0.5, "step_size": 0.1}, {"eps": 0.25}, {"step_size": 0.1}),
        ({"eps": 0.5, "step_size": "1/10"}, {"step_size": None}, {"step_size": 0.1}),
        ({"eps": 0.5}, {"norm": "Linf"}, {"step_size": 0.125}),
        ({"eps": 0.5}, {"kind": "rs-fgsm"}, {"steps": 1, "step_size": 0.625, "random_start": True}),
        ({"kind": "rs-fgsm"}, {"kind": "pgd"}, {"steps": 7, "step_size": 0.1, "random_start": False}),
        ({"steps": 3, "random_start": True}, {"eps": 0.25}, {"steps": 3, "random_start": True}),
    ],
)
def test_what_is_derived_follows_and_what_is_given_stays(
    given: dict[str, Any], changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = AttackSpec(**given)
    evolved = attrs.evolve(before, **changes)
    assert {name: getattr(evolved, name) for name in expected} == expected
    resolved = {key: getattr(evolved, key) for key in ("kind", "norm", "eps", "steps", "step_size", "random_start")}
    assert evolved == AttackSpec(**resolved)  # equal, and of equal hash, however it was asked for
    assert hash(evolved) == hash(AttackSpec(**resolved))


def test_no_derived_default_is_passed_on_as_if_it_was_given() -> None:
    """A field of a spec either has one default, or is left out of what `attrs.evolve` copies."""
    derived = [a.name for kind in SECTIONS.values() for a in attrs.fields(kind) if isinstance(a.default, attrs.Factory)]
    assert derived == ["beta", "eps", "steps", "step_size", "random_start", "replays"]
    assert [a.name for kind in SECTIONS.values() for a in attrs.fields(kind) if not a.init] == derived


def test_the_protocols_differ_as_the_page_says() -> None:
    paper, authors = (Spec.from_tables({**PLAIN, "protocol": name}) for name in ("paper", "authors"))
    assert (paper.attack.keep_best, authors.attack.keep_best) == (False, True)
    assert (paper.evaluation.examples, authors.evaluation.examples) == ("rest", 0.8)
    assert (paper.ranking.record, authors.ranking.record) == ("snapshot", "online")
    single = {"kind": "classes", "strategy": "listed", "classes": [3]}
    for data, subset, rule, attacks in (
        ("cifar10", {}, "uniform", "standard"),
        ("cifar10", single, "balanced", ("apgd-ce", "apgd-t")),
        ("cifar10", {"kind": "classes", "size": 1}, "balanced", ("apgd-ce", "apgd-t")),
        ("cifar10", {"kind": "classes", "size": 1.0}, "uniform", "standard"),
        ("cifar100", {}, "uniform", ("apgd-ce", "apgd-t")),
        ("imagenet200", {}, "uniform", "standard"),
        ("imagenet200", {"kind": "classes"}, "uniform", ("apgd-ce", "apgd-t")),
    ):
        tables = {"protocol": "authors", "data": {"name": data}, "subset": subset, "training": {"epochs": 3}}
        spec = Spec.from_tables(tables)
        assert (spec.weighting.rule, spec.evaluation.attacks) == (rule, attacks), data
        assert Spec.from_tables({**tables, "protocol": "paper"}).weighting.rule == "uniform"
    assert PROTOCOLS.get("authors").check_epochs("cifar10", 201, (100, 150)) == (15, 50, 101, 151, 200)
    assert PROTOCOLS.get("authors").check_epochs("imagenet200", 151, (50, 100)) == (51, 101, 150)
    assert PROTOCOLS.get("paper").check_epochs("cifar10", 201, (100, 150)) == (101, 151, 201)
    assert PROTOCOLS.get("paper").check_epochs("cifar10", 40, ()) == (32, 34, 36, 38, 40)


def test_schedules() -> None:
    piecewise = parse_schedule("piecewise:2,3")
    rates = [piecewise.lr(1.0, step, 10, 4) for step in (0, 19, 20, 29, 30, 39)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert parse_schedule("piecewise:20steps,30steps*0.5").lr(1.0, 30, 10, 4) == 0.25
    step = parse_schedule("step:2*0.5")
    assert [step.lr(1.0, at, 10, 6) for at in (0, 19, 20, 39, 40, 59)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert [parse_schedule("step:15steps*0.5").lr(1.0, at, 10, 6) for at in (14, 15, 30)] == [1, 0.5, 0.25]
    assert parse_schedule("step").lr(1.0, 300, 10, 90) == pytest.approx(0.1)
    cosine = parse_schedule("cosine")
    assert (cosine.lr(0.2, 0, 5, 3), cosine.lr(0.2, 14, 5, 3)) == pytest.approx((0.2, 0))


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        ("piecewise", 201, (100, 150)),
        ("piecewise:39000steps,58500steps", 201, (100, 150)),  # the authors' own numbers
        ("piecewise:0.333,0.667", 12, (3, 8)),
        ("piecewise:100,150", 12, ()),
        ("piecewise:391steps,4000steps", 12, (2, 11)),  # the rest of epochs 2 and 11 has both rates
        ("piecewise:4500steps", 12, ()),  # within the last epoch: none is left
        ("step:5", 12, (5, 10)),
        ("step:6", 12, (6,)),
        ("step:1000steps", 12, (3, 6, 8, 11)),
        ("cosine", 12, ()),
    ],
)
def test_epochs_after_which_the_rate_has_fallen(schedule: str, epochs: int, expected: tuple[int, ...]) -> None:
    assert parse_schedule(schedule).drop_epochs(epochs, 390) == expected
