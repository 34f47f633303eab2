"""Plug-ins: entry points, modules that a study names, and what is refused before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from plugin_folders import REGISTER, REGISTRIES, RULE, install, python, registries_as_they_were
from toys import job, toy

from sat_core.attack_kinds import ATTACKS, AttackKind
from sat_core.attack_spec import AttackSpec
from sat_core.difficulty import DIFFICULTIES, StreamedDifficulty
from sat_core.errors import DataError, NotInstalledError, SpecError
from sat_core.experiment import Experiment
from sat_core.geometry import Linf as LinfGeometry
from sat_core.geometry import get_geometry
from sat_core.member_losses import LOSSES, Loss
from sat_core.models import MODELS, Model
from sat_core.numpy_ops import NUMPY
from sat_core.plugins import check_loaded, load_plugins, not_loaded
from sat_core.recorder import Recorder
from sat_core.reference import NumpyBackend
from sat_core.reference.member_losses import member_losses
from sat_core.sections import SubsetSpec
from sat_core.selection import SELECTION_RULES, Random
from sat_core.spec import Spec
from sat_core.splits import make_split
from sat_core.study import Study
from sat_core.testing import CHECKS, ContractError
from sat_core.threat import THREAT_MODELS, Linf
from sat_core.weighting import WEIGHTING_RULES, Uniform

SMALL: dict[str, Any] = {"data": {"name": "digits"}, "training": {"epochs": 2}}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with registries_as_they_were():
        yield


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory that registers the rule "sat-test-middle"."""
    name = "sat-test-middle"
    (tmp_path / "sat_test_rules.py").write_text(RULE.format(name=name) + REGISTER.format(name=name))
    monkeypatch.chdir(tmp_path)
    return "sat_test_rules"


def test_every_registry_has_an_entry_point_group() -> None:
    groups = [registry.group for registry in REGISTRIES]
    rules = "selection_rules difficulties weighting_rules losses attacks threat_models schedules augmentations"
    assert groups == [f"sat_core.{name}" for name in f"{rules} models trackers".split()]
    assert all(registry.of is not None for registry in REGISTRIES)


def test_installed_packages_add_entries_that_are_found_by_name(tmp_path: Path) -> None:
    """In a new process, whose import of the core loads none of them."""
    points = "[sat_core.selection_rules]\nsat-test-middle = sat_test_module:RULE\n"
    install(tmp_path, points, sat_test_module=RULE.format(name="sat-test-middle"))
    code = (
        "import sys, sat_core\n"
        "from sat_core import Spec\n"
        "spec = Spec.from_tables({'data': {'name': 'digits'}, 'training': {'epochs': 2}})\n"
        "print('sat_test_module' in sys.modules, 'importlib.metadata' in sys.modules)\n"
        "spec = Spec.from_tables({**spec.to_tables(), 'subset': {'strategy': 'sat-test-middle'}})\n"
        "from sat_core.selection import SELECTION_RULES\n"
        "print(spec.subset.strategy, 'sat-test-middle' in SELECTION_RULES.names(), 'sat_test_module' in sys.modules)\n"
    )
    done = python(code, tmp_path)
    assert done.stdout.splitlines() == ["False False", "sat-test-middle True True"], done.stderr


def test_what_is_installed_and_not_named_changes_no_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a package that cannot be imported break it."""
    recorder, logits = Recorder(4, 1), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    recorder.update(np.arange(4), logits, np.zeros(4, np.int64), 0)
    before = recorder.scores()
    install(tmp_path, "[sat_core.difficulties]\nsat-test-hard = sat_test_gone:HARD\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "sat-test-hard" in DIFFICULTIES.names()
    assert recorder.scores().keys() == before.keys()
    with pytest.raises(NotInstalledError, match=r"difficulty metric 'sat-test-hard' is not installed"):
        Spec.from_tables({**SMALL, "ranking": {"metric": "sat-test-hard"}})


def test_what_is_wrong_with_an_entry_point_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "sat-test-class": "Middle",
        "sat-test-other": "RULE",
        "sat-test-array": "np",
        "sat-test-none": "nothing",
        "sat-test-gone": "sat_test_gone:RULE",
    }
    lines = [f"{name} = {value if ':' in value else f'sat_test_module:{value}'}" for name, value in points.items()]
    install(tmp_path, "\n".join(["[sat_core.selection_rules]", *lines]), sat_test_module=RULE.format(name="middle"))
    monkeypatch.syspath_prepend(tmp_path)
    for name, says in {
        "sat-test-class": "expected an object of the class SelectionRule, got the class Middle; name an object of it",
        "sat-test-other": "expected its attribute `name` to be the same, got 'middle'",
        "sat-test-array": "expected an object of the class SelectionRule, got <module",
        "sat-test-none": "its entry point names nothing",
    }.items():
        with pytest.raises(SpecError, match=f"^selection strategy '{name}': {says}"):
            Spec.from_tables({**SMALL, "subset": {"strategy": name}})
        assert name not in SELECTION_RULES._entries
    with pytest.raises(NotInstalledError, match=r"install what sat-test-package needs for it"):
        SELECTION_RULES.get("sat-test-gone")
    with pytest.raises(SpecError, match="expected an object of the class SelectionRule, got the class Random"):
        SELECTION_RULES.register("sat-test-class", Random)  # type: ignore[arg-type]


def test_modules_are_imported_before_values_are_looked_at(rules: str) -> None:
    """A study says so itself, in every form in which it reaches a process."""
    study = Study.loads(
        f'plugins = ["{rules}"]\nsubset.strategy = "sat-test-middle"\n[data]\nname = "digits"\n' + EPOCHS
    )
    assert study.arms[0].spec.plugins == (rules,)
    assert study.base.plugins == (rules,)
    for again in (Study.loads(study.dumps()), Study.from_tables(study.to_tables()), study.set({"training.lr": 0.2})):
        assert again.arms[0].spec.plugins == (rules,)
    both = study.set({"plugins": [rules, "json", rules]})
    assert both.arms[0].spec.plugins == (rules, "json")
    assert len(both.arms) == 1
    order = SELECTION_RULES.get("sat-test-middle").order(np.arange(5), np.arange(0), np.random.default_rng(0))
    assert order.tolist() == [2, 3, 1, 4, 0]


EPOCHS = "[training]\nepochs = 2\n"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("sat_test_rules", "plugins: expected a list of modules, as .*my_package.rules.*, got 'sat_test_rules'"),
        ([3], "plugins: expected a list of modules"),
        ([""], "plugins: expected a list of modules"),
        (["sat_test_missing"], "plugins: cannot import 'sat_test_missing' .*No module named.*the name of a module"),
        (["sat_test_broken"], "plugins: cannot import 'sat_test_broken' .ZeroDivisionError"),
        (["sat_test_exits"], "plugins: cannot import 'sat_test_exits' .SystemExit"),
        (["sat_test_taken"], "plugins: cannot import 'sat_test_taken': selection strategy 'random' is registered"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, says: str
) -> None:
    (tmp_path / "sat_test_broken.py").write_text("1 / 0\n")
    (tmp_path / "sat_test_exits.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "sat_test_taken.py").write_text(RULE.format(name="random") + REGISTER.format(name="random"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=f"^{says}") as error:
        Study.from_tables({**SMALL, "plugins": value})
    assert len(str(error.value).splitlines()) <= 2


def test_plug_ins_are_for_all_arms_alike() -> None:
    with pytest.raises(SpecError, match="grid: 'plugins' is for all arms alike; set it at the top of the study"):
        Study(settings=SMALL, grids={"plugins": [["json"], ["csv"]]})


def test_plug_ins_are_part_of_the_fingerprint_unless_there_are_none(rules: str) -> None:
    def fingerprint(tables: dict[str, Any]) -> str:
        return Experiment(tables=tables, run={}, data="digits").fingerprint()

    plain = Spec.from_tables(SMALL).to_tables()
    without = {key: value for key, value in plain.items() if key != "plugins"}
    assert plain["plugins"] == []
    assert fingerprint(plain) == fingerprint(without)
    assert fingerprint(Spec.from_tables({**SMALL, "plugins": [rules]}).to_tables()) != fingerprint(plain)


def test_who_reads_imports_nothing(rules: str) -> None:
    assert not_loaded({"plugins": [rules]})
    assert not_loaded({"plugins": 3})
    with pytest.raises(SpecError, match=r"^runs/x: names the modules gone, sat_test_rules; give --import gone --imp"):
        check_loaded({"plugins": ["gone", rules, "sys"]}, "runs/x")
    assert rules not in sys.modules
    load_plugins([rules])
    check_loaded({"plugins": [rules]}, "runs/x")
    assert not not_loaded({"plugins": [rules]})
    assert not not_loaded({})


def test_factories_of_networks_are_not_imported_either() -> None:
    for tables in (
        {"model": {"name": "gone.nets:make"}},
        {"ranking": {"model": "gone.nets:make"}, "model": {"name": "timm:resnet18d"}},
        {"model": {"name": "small-cnn"}, "grid": {"model.name": ["json:dumps", "gone.nets:make"]}},
        {"arms": [{"model.name": "gone.nets:make"}]},
    ):
        with pytest.raises(SpecError, match=r"^x: names the modules gone\.nets; give --import gone\.nets if you trust"):
            check_loaded(tables, "x")
    check_loaded({"model": {"name": "json:dumps"}, "data": {"name": "npz:gone.npz"}}, "runs/x")


def test_a_network_of_a_plug_in_is_built_by_its_name(tmp_path: Path) -> None:
    """By the function for the backend in use; a backend without one is named before anything is trained."""
    calls: list[dict[str, Any]] = []

    def make(**sizes: Any) -> None:
        calls.append(sizes)

    MODELS.register("sat-test-net", Model(name="sat-test-net", functions={"numpy": make}))
    # the reference wraps no models: what comes back of the factory is refused by it
    with pytest.raises(SpecError):
        NumpyBackend().build("sat-test-net", classes=3, image_shape=(6, 6, 1))
    assert calls == [{"classes": 3, "image_shape": (6, 6, 1)}]
    MODELS.register("sat-test-other", Model(name="sat-test-other", functions={"torch": "sat_test_nets:make"}))
    with pytest.raises(SpecError, match=r"^model 'sat-test-other': has no function for the backend 'numpy', only for"):
        job(tmp_path, keys={"model.name": "sat-test-other"}).probe()
    with pytest.raises(SpecError, match=r"did you mean 'sat-test-net'\?.*\nexpected one of .*linear.*, sat-test-net"):
        NumpyBackend().build("sat-test-ne", classes=3, image_shape=(6, 6, 1))


def _raise(*_: Any) -> Any:
    raise ValueError("I do not like it")


@pytest.mark.parametrize(
    ("order", "got"),
    [
        (lambda ranking: ranking[:4], "got 4"),
        (lambda ranking: np.concatenate([ranking[:10], ranking[:10]]), "got 20, of which 10 are different"),
        (lambda ranking: ranking + 1, "got numbers in 1..90"),
        (lambda ranking: ranking - 1, "got numbers in -1..88"),
        (lambda ranking: ranking.astype(float), r"got an array \(90,\) of float64"),
        (lambda ranking: None, r"got an array \(\) of object"),
    ],
)
def test_a_rule_that_returns_no_order_is_refused_in_a_line(order: Any, got: str) -> None:
    rule = Random()
    rule.name, rule.order = "sat-test-order", lambda ranking, listed, rng: order(ranking)  # type: ignore[method-assign]
    SELECTION_RULES.register(rule.name, rule)
    expected = "expected the numbers of at least 20 units, each once and in 0..89, "
    with pytest.raises(SpecError, match=f"^selection strategy 'sat-test-order': {expected}{got}$"):
        make_split(SubsetSpec(strategy=rule.name, size=20), "uniform", toy())


def test_rules_and_scores_that_raise_or_give_no_number_are_refused_in_a_line() -> None:
    rule, weighting = Random(), Uniform()
    rule.name, rule.order = "sat-test-rule", _raise  # type: ignore[method-assign]
    SELECTION_RULES.register(rule.name, rule)
    with pytest.raises(SpecError, match=r"^selection strategy 'sat-test-rule': ValueError: I do not like it$"):
        make_split(SubsetSpec(strategy=rule.name, size=20), "uniform", toy())
    weighting.name = "sat-test-weight"
    WEIGHTING_RULES.register(weighting.name, weighting)
    says = "expected w_A as a finite number > 0, got"
    for weigh, message in {
        _raise: "ValueError: I do not like it",
        lambda *_: float("nan"): f"{says} nan",
        lambda *_: float("inf"): f"{says} inf",
        lambda *_: -1: f"{says} -1",
        lambda *_: None: "TypeError: ",
    }.items():
        weighting.weight_of_a = weigh  # type: ignore[method-assign, assignment]
        with pytest.raises(SpecError, match=f"^weighting rule 'sat-test-weight': {message}"):
            make_split(SubsetSpec(strategy="random", size=20), weighting.name, toy())
        assert weighting.weights(0, 45) == (1.0, 1.0)
    recorder = Recorder(4, 1)
    recorder.update(np.arange(4), np.eye(4, 3, dtype=np.float32), np.zeros(4, np.int64), 0)
    for score, message in {
        _raise: "ValueError: I do",
        lambda *_: np.ones(3): "expected finite numbers .4,., got",
    }.items():
        metric = type("Metric", (StreamedDifficulty,), {"name": "sat-test-score", "score": score})()
        DIFFICULTIES._entries["sat-test-score"] = metric
        with pytest.raises(DataError, match=f"^difficulty 'sat-test-score': {message}"):
            recorder.score("sat-test-score")


class OneNorm(Linf):
    """In no framework but numpy."""

    name = "sat-test-norm"
    eps = None

    functions: ClassVar[dict[str, Any]] = {"torch": "sat_test_nowhere:geometry"}

    def needs_function(self, backend: str) -> bool:
        return True


class Half(Loss):
    """Half of the cross-entropy, in no framework."""

    name = "sat-test-half"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            {"loss.kind": "sat-test-half"},
            "loss 'sat-test-half': has no function for the backend 'numpy', only for: none",
        ),
        (
            {"attack.kind": "sat-test-attack"},
            "attack 'sat-test-attack': has no function for the backend 'numpy', only for: torch",
        ),
        (
            {"attack.norm": "sat-test-norm", "attack.eps": 0.1},
            "norm 'sat-test-norm': has no function for the backend 'numpy', only for: torch",
        ),
    ],
)
def test_what_the_backend_has_no_function_for_is_refused_before_training(
    tmp_path: Path, keys: dict[str, Any], says: str
) -> None:
    LOSSES.register("sat-test-half", Half())
    ATTACKS.register(
        "sat-test-attack", AttackKind(name="sat-test-attack", steps=1, functions={"torch": "nowhere:attack"})
    )
    THREAT_MODELS.register("sat-test-norm", OneNorm())
    with pytest.raises(SpecError, match=f"^{says}\nwhoever defines it adds one: functions = .'numpy': 'package"):
        job(tmp_path, keys=keys).check()
    assert not list(tmp_path.iterdir())


def test_a_function_that_cannot_be_imported_is_refused_with_its_backend() -> None:
    with pytest.raises(
        SpecError,
        match=r"norm 'sat-test-norm': cannot import its function 'sat_test_nowhere:geometry' for the backend 'torch' "
        r".*No module",
    ):
        OneNorm().check_function("torch")


def test_a_threat_model_may_have_a_default_radius_and_step() -> None:
    THREAT_MODELS.register("sat-test-norm", OneNorm())
    with pytest.raises(
        SpecError, match=r"^attack\.eps: has no default with attack.norm = 'sat-test-norm'; give the radius"
    ):
        AttackSpec(norm="sat-test-norm")
    attack = AttackSpec(norm="sat-test-norm", eps=0.2)
    assert (attack.step_size, attack.probe.step_size) == (0.2 * 0.25, 0.2 * 0.25)
    assert AttackSpec(norm="sat-test-norm", kind="fgsm", eps=0.2).step_size == 0.2
    assert [AttackSpec(norm=norm).eps for norm in ("L2", "Linf")] == [0.5, 8 / 255]
    assert [AttackSpec(norm=norm).step_size for norm in ("L2", "Linf")] == [0.5 * 0.2, 8 / 255 * 0.25]


def test_a_norm_that_autoattack_does_not_have_is_refused_before_training(tmp_path: Path) -> None:
    """Unless an evaluator of the user's attacks in it."""
    threat = OneNorm()
    threat.needs_function = lambda backend: False  # type: ignore[method-assign]
    THREAT_MODELS.register("sat-test-norm", threat)
    keys = {"attack.norm": "sat-test-norm", "attack.eps": 0.1}
    assert job(tmp_path, keys=keys).check() == 45
    with pytest.raises(
        SpecError, match=r"^norm: expected L2 or Linf or L1 with the engine 'package', got 'sat-test-norm'"
    ):
        job(tmp_path, keys=keys, evaluator=None).check()


def test_geometries_of_others_are_made_by_their_function() -> None:
    made: list[Any] = []

    def geometry(ops: Any, tiny: float) -> Any:
        made.append((ops, tiny))
        return LinfGeometry(ops, tiny)

    threat = OneNorm()
    threat.functions = {"numpy": geometry}  # type: ignore[misc]
    THREAT_MODELS.register("sat-test-norm", threat)
    assert isinstance(get_geometry("sat-test-norm", NUMPY, 1e-3), LinfGeometry)
    assert made == [(NUMPY, 1e-3)]
    other = type("Other", (), {"backend": "torch"})()
    with pytest.raises(SpecError, match="norm 'sat-test-norm': has no function for the backend 'torch'"):
        get_geometry("sat-test-norm", other)


def test_the_contract_takes_what_plug_ins_have_registered() -> None:
    """On the reference itself: an attack that leaves the ball, and a loss whose two functions differ, are found."""
    twice = lambda gradient, images, labels, attack, start: np.clip(images + 2 * attack.eps, 0, 1)  # noqa: E731
    kind = AttackKind(name="sat-test-attack", single=True, projects=False, functions={"numpy": twice})
    ATTACKS.register(kind.name, kind)
    with pytest.raises(ContractError, match=r"attack 'sat-test-attack': expected at most ε"):
        CHECKS["attacks_of_plugins_stay_inside"](NumpyBackend())
    calls: list[int] = []

    def worse(adversarial: np.ndarray, clean: Any, targets: np.ndarray, beta: float) -> Any:
        calls.append(len(adversarial))
        losses, over, none = member_losses("ce", adversarial, clean, targets, beta)
        return losses, over * (1 + 1e-3 * (len(calls) > 30)), none

    half = Half()
    half.functions = {"numpy": worse}
    LOSSES.register("sat-test-half", half)
    with pytest.raises(ContractError, match=r"loss 'sat-test-half': expected 1e-6 from its numpy function in 20 steps"):
        CHECKS["losses_of_plugins_are_those_of_their_numpy_functions"](NumpyBackend())
