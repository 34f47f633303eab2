"""What every backend must do, each as a check that raises `ContractError` with what was expected and got."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import final

import attrs
import numpy as np

from sat_core import checkpoint
from sat_core.backend import LOSSES, Backend
from sat_core.errors import CheckpointError, NotInstalledError, SpecError
from sat_core.initialisation import initial_state
from sat_core.reference import LinearBackend, loss_and_gradient, pgd, small_cnn, weighted_mean
from sat_core.spec import AttackSpec
from sat_core.testing import samples
from sat_core.threat import THREAT_MODELS


class ContractError(AssertionError):
    """A backend does not do what `sat_core.backend` says."""


@final
@attrs.frozen
class Check:
    """One check of the contract. models: those of the backend's that it needs."""

    name: str
    models: tuple[str, ...]
    body: Callable[[Backend], None]

    def __call__(self, backend: Backend) -> None:
        """Raises ContractError if `backend` does not pass."""
        self.body(backend)

    def __str__(self) -> str:
        return self.name


CHECKS: dict[str, Check] = {}


def backend_checks(models: tuple[str, ...] = ("linear", "small-cnn")) -> list[Check]:
    """The whole contract for a backend with the named models; a full backend has both."""
    return [check for check in CHECKS.values() if set(check.models) <= set(models)]


def _check(*models: str) -> Callable[[Callable[[Backend], None]], Callable[[Backend], None]]:
    def register(body: Callable[[Backend], None]) -> Callable[[Backend], None]:
        name = body.__name__
        CHECKS[name] = Check(name, models, body)
        return body

    return register


def _close(what: str, got: np.ndarray, expected: np.ndarray, tolerance: float, share: float = 1.0) -> None:
    if got.shape != expected.shape:
        raise ContractError(f"{what}: expected shape {expected.shape}, got {got.shape}")
    off = np.abs(got.astype(np.float64) - expected)
    good = off <= tolerance * np.maximum(1, np.abs(expected))
    if not good.mean() >= share:
        raise ContractError(f"{what}: expected {share:.0%} within {tolerance:g}, largest difference {off.max():.3g}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _raises(error: type[Exception], what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise ContractError(f"{what}: expected {error.__name__}, nothing was raised")


def _same_state(what: str, got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    changed = [name for name in expected if not np.array_equal(got.get(name, np.nan), expected[name])]
    _require(got.keys() == expected.keys() and not changed, f"{what}: the state changed: {changed[:3]}")


@_check("linear")
def initial_weights_are_the_cores(backend: Backend) -> None:
    """A seed gives the weights that the core draws for it."""
    options = {"classes": samples.CLASSES, "image_shape": samples.SHAPE}
    first, again, other = (backend.build("linear", seed=s, **options).state() for s in (3, 3, 4))  # type: ignore[arg-type]
    _same_state("two builds with one seed", again, first)
    _same_state("build", first, initial_state(first, 3))
    _require(not np.array_equal(first["fc.weight"], other["fc.weight"]), "build: two seeds gave the same weights")


@_check("linear")
def logits_of_the_linear_model(backend: Backend) -> None:
    """Normalisation, pixel order and both image types are those of the oracle."""
    for whole in (False, True):
        data = samples.examples(whole=whole)
        state = samples.build(backend, "linear").state()
        oracle = samples.build(LinearBackend(), "linear")
        oracle.load_state(state)
        _close("logits", samples.build(backend, "linear").logits(data.images), oracle.logits(data.images), 1e-4)


@_check("small-cnn")
def logits_of_the_small_cnn(backend: Backend) -> None:
    """Convolution, padding, stride and BatchNorm in evaluation mode are those of the oracle."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    expected, _ = small_cnn(classifier.state(), data.images, samples.MEAN, samples.STD)
    _close("logits", classifier.logits(data.images), expected, 1e-4)
    one_by_one = np.concatenate([classifier.logits(data.images[i : i + 1]) for i in range(4)])
    _close("logits of one image and of a batch", one_by_one, classifier.logits(data.images[:4]), 1e-4)
    _require(classifier.logits(data.images[:0]).shape == (0, samples.CLASSES), "logits of no image: expected (0, k)")


@_check("small-cnn")
def features_are_what_the_last_layer_takes(backend: Backend) -> None:
    """The last layer on the features gives the logits."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    state = classifier.state()
    expected = classifier.features(data.images) @ state["fc.weight"].T + state["fc.bias"]
    _close("features", expected, classifier.logits(data.images), 1e-4)


@_check("linear")
def state_is_a_copy_and_is_checked(backend: Backend) -> None:
    """States do not share memory; one that does not fit is refused whole."""
    classifier = samples.build(backend, "linear")
    before = classifier.state()
    classifier.state()["fc.weight"][...] = 0
    _same_state("writing into a state", classifier.state(), before)
    lacking = {k: v for k, v in before.items() if k != "fc.bias"}
    for wrong in (lacking, {**before, "more": np.zeros(1)}, {**before, "fc.bias": np.zeros(99)}):
        _raises(CheckpointError, "load_state of another architecture", lambda wrong=wrong: classifier.load_state(wrong))  # type: ignore[misc]
    _same_state("a refused load_state", classifier.state(), before)


@_check("linear", "small-cnn")
def checkpoints_load_without_code(backend: Backend) -> None:
    """A checkpoint comes back bit by bit, in its own architecture only, and never imports anything."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        about = {"model": dict(classifier.description)}
        checkpoint.save(path, {"model": classifier.state()}, about)
        first = path.read_bytes()
        loaded = backend.load(path)
        _close("a loaded checkpoint", loaded.logits(data.images), classifier.logits(data.images), 0)
        checkpoint.save(path, {"model": loaded.state()}, about)
        _require(path.read_bytes() == first, "saving twice: expected the same bytes")
        other = backend.build("linear", classes=samples.CLASSES, image_shape=samples.SHAPE)
        _raises(CheckpointError, "load into another model", lambda: backend.load(path, into=other))
        checkpoint.save(path, {"model": classifier.state()}, {"model": {"model": "os:getcwd"}})
        _raises(CheckpointError, "load of a model that the file names by import", lambda: backend.load(path))


@_check("linear")
def gradients_of_every_loss(backend: Backend) -> None:
    """Each attack loss and its gradient over the images are the oracle's."""
    classifier, data = samples.build(backend, "linear"), samples.examples()
    oracle = samples.build(LinearBackend(), "linear")
    targets = (data.labels + 1) % samples.CLASSES
    for loss in LOSSES:
        chosen = targets if loss in ("targeted-dlr", "logit-difference") else None
        got = classifier.loss_gradient(data.images, data.labels, loss, chosen)
        expected = oracle.loss_gradient(data.images, data.labels, loss, chosen)
        for what, mine, theirs in zip(("logits", "losses", "gradient"), got, expected, strict=True):
            _close(f"{what} of {loss}", mine, theirs, 1e-4)
    _raises(SpecError, "an unknown loss", lambda: classifier.loss_gradient(data.images, data.labels, "hinge"))


@_check("small-cnn")
def input_vjp_agrees_with_loss_gradient(backend: Backend) -> None:
    """The fallback for other losses gives the same gradient."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    logits, _, gradient = classifier.loss_gradient(data.images, data.labels)
    _, cotangent = loss_and_gradient(logits, data.labels)
    _close("input_vjp", classifier.input_vjp(data.images, cotangent.astype(np.float32)), gradient, 1e-4)


def _attacks() -> list[AttackSpec]:
    radii = {"L2": 0.8}  # a size that changes every pixel a little; in other norms that of one pixel
    return [
        samples.attack(**{"norm": norm, "eps": radii.get(norm, 0.06), "step_size": radii.get(norm, 0.06) / 3, **more})
        for norm in THREAT_MODELS
        for more in ({}, {"keep_best": True}, {"random_start": True}, {"steps": 1})
    ]


@_check("small-cnn")
def attacks_stay_inside_and_touch_nothing(backend: Backend) -> None:
    """In the ball, in [0, 1]; arrays, weights and statistics as they were; ε = 0 is the identity."""
    classifier = samples.build(backend, "small-cnn")
    state = classifier.state()
    for whole in (False, True):
        data = samples.examples(whole=whole)
        clean, given = data.float_images(), data.images.copy()
        for attack in _attacks():
            found = classifier.perturb(data.images, data.labels, attack, np.random.default_rng(0))
            size = THREAT_MODELS.get(attack.norm).size(found.astype(np.float64) - clean).max()
            _require(found.dtype == np.float32, f"perturb: expected float32, got {found.dtype}")
            _require(size <= attack.eps + 1e-6, f"perturb: expected at most ε = {attack.eps}, got {size:.8g}")
            _require(bool((found >= 0).all() and (found <= 1).all()), "perturb: expected pixels in [0, 1]")
            _require(bool(np.array_equal(data.images, given)), "perturb: the caller's images were changed")
            _require(bool((found != clean).any()), "perturb: nothing was changed")
    _same_state("perturb", classifier.state(), state)
    nothing = classifier.perturb(data.images, data.labels, samples.attack(eps=0.0))
    _close("perturb with ε = 0", nothing, clean, 0)
    needs_rng = samples.attack(random_start=True)
    _raises(SpecError, "a random start without rng", lambda: classifier.perturb(data.images, data.labels, needs_rng))


@_check("small-cnn")
def attacks_follow_the_oracle(backend: Backend) -> None:
    """Each attack is the oracle's on the gradients that the classifier itself reports."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    for attack in _attacks():
        start = None
        if attack.random_start:
            threat = THREAT_MODELS.get(attack.norm)
            start = threat.random_start(np.random.default_rng(7), data.images.shape, attack.eps)
        expected = pgd(classifier.loss_gradient, data.images, data.labels, attack, start)
        found = classifier.perturb(data.images, data.labels, attack, np.random.default_rng(7))
        _close(f"perturb by {attack}", found, expected, 1e-3, share=0.99)
        if attack.keep_best:
            before, after = (classifier.loss_gradient(x, data.labels)[1] for x in (data.images, found))
            _require(bool((after >= before - 1e-4).all()), "keep_best: the loss fell below that of the start")


@_check("linear")
def steps_follow_the_oracle(backend: Backend) -> None:
    """Loss, weights and logits of a short SAT training are the oracle's, with every weighting rule."""
    data = samples.examples(whole=True)
    for rule, changes in (
        ("uniform", {}),
        ("balanced", {"augmentation": "cifar"}),
        ("emphasised", {"nesterov": True}),
        ("emphasised", {"momentum": 0.0, "weight_decay": 0.0}),
    ):
        training = samples.training(**changes)
        attack = samples.attack(random_start=rule == "balanced")
        plans = samples.plans(len(data), 0.4, training, attack, rule)
        found: list[tuple[float, np.ndarray]] = []
        expected: list[tuple[float, np.ndarray]] = []
        for made_by, log in ((backend, found), (LinearBackend(), expected)):
            classifier = samples.build(made_by, "linear")
            trainer = made_by.trainer(classifier, data, training, attack)
            trainer.run(iter(plans), lambda _plan, step, log=log: log.append((step.loss(), step.logits())))  # type: ignore[misc]
            log.append((0.0, classifier.state()["fc.weight"]))
        _require(len(found) == len(expected), f"run: expected {len(plans)} calls of on_batch, got {len(found) - 1}")
        for (loss, logits), (oracle_loss, oracle_logits) in zip(found, expected, strict=True):
            _close(f"logits or weights, {rule}", logits, oracle_logits, 1e-5)
            _close(f"loss, {rule}", np.array(loss), np.array(oracle_loss), 1e-5)


@_check("small-cnn")
def one_forward_over_the_mixed_batch(backend: Backend) -> None:
    """BatchNorm sees the mixed batch once, in training mode, and nothing of the attack."""
    data = samples.examples(16)
    training = samples.training(lr=0.0, batch_size=16, epochs=1)
    attack = samples.attack()
    for share in (0.0, 0.4, 1.0):
        (plan,) = samples.plans(len(data), share, training, attack)
        classifier = samples.build(backend, "small-cnn")
        state = classifier.state()
        mixed, labels = data.images[plan.index].copy(), data.labels[plan.index]
        if plan.members.any():
            mixed[plan.members] = classifier.perturb(mixed[plan.members], labels[plan.members], attack)
        logits, running = small_cnn(state, mixed, samples.MEAN, samples.STD, training=True)
        found: list[tuple[float, np.ndarray]] = []
        trainer = backend.trainer(classifier, data, training, attack)
        trainer.run([plan], lambda _plan, step, found=found: found.append((step.loss(), step.logits())))  # type: ignore[misc]
        _close(f"training logits at |A| = {share:.0%}", found[0][1], logits, 2e-3)
        losses, _ = loss_and_gradient(logits, labels)
        _close("loss", np.array(found[0][0]), np.array(weighted_mean(losses, plan.weights)), 2e-3)
        after = classifier.state()
        for name, expected in running.items():
            _close(f"{name} at |A| = {share:.0%}", after[name], expected, 1e-3)


@_check("small-cnn")
def training_goes_on_from_a_saved_state(backend: Backend) -> None:
    """A training broken off between two steps ends with the same weights, byte for byte."""
    data = samples.examples(whole=True)
    for changes in ({}, {"optimizer": "adamw", "lr": 1e-3}):
        training, attack = samples.training(**changes), samples.attack()
        plans = samples.plans(len(data), 0.4, training, attack)
        whole, broken = (samples.build(backend, "small-cnn") for _ in range(2))
        backend.trainer(whole, data, training, attack).run(plans, lambda *_: None)
        first = backend.trainer(broken, data, training, attack)
        first.run(plans[:2], lambda *_: None)
        again = samples.build(backend, "small-cnn", seed=9)
        again.load_state(broken.state())
        second = backend.trainer(again, data, training, attack)
        second.load_state(first.state())
        second.run(plans[2:], lambda *_: None)
        _same_state(f"resumed training with {training.optimizer}", again.state(), whole.state())


@_check("small-cnn")
def as_torch_module_agrees(backend: Backend) -> None:
    """The torch module that AutoAttack gets is the same function."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    try:
        import torch
    except ImportError:
        _raises(NotInstalledError, "as_torch_module without torch", classifier.as_torch_module)
        return
    module = classifier.as_torch_module()
    x = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()).requires_grad_()
    logits = module(x)
    losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels), reduction="sum")
    (gradient,) = torch.autograd.grad(losses, x)
    expected, _, expected_gradient = classifier.loss_gradient(data.images, data.labels)
    _close("as_torch_module", logits.detach().numpy(), expected, 1e-5)
    _close("its gradient", gradient.numpy().transpose(0, 2, 3, 1), expected_gradient, 1e-4)
