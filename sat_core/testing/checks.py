"""What every backend must do, each as a check that raises `ContractError` with what was expected and got."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from sat_core import checkpoint
from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.classifier import ATTACK_LOSSES
from sat_core.errors import CheckpointError, NotInstalledError, SpecError
from sat_core.initialisation import initial_state
from sat_core.input_spec import InputSpec
from sat_core.network_cost import network_cost
from sat_core.reference import ORACLES, NumpyBackend, NumpyClassifier, pgd
from sat_core.testing import samples
from sat_core.testing.contract import check, close, raises, require, same_state
from sat_core.testing.parity import IMAGE_SHAPES, PARITY, logits_difference, pair
from sat_core.threat import THREAT_MODELS


@check("linear")
def initial_weights_are_the_cores(backend: Backend) -> None:
    """A seed gives the weights that the core draws for it."""
    inputs = InputSpec(samples.CLASSES, samples.SHAPE)
    first, second, other = (backend.build_for(inputs, "linear", seed).state() for seed in (3, 3, 4))
    same_state("two builds with one seed", second, first)
    same_state("build", first, initial_state(first, 3))
    require(not np.array_equal(first["fc.weight"], other["fc.weight"]), "build: two seeds gave the same weights")


@check()
def logits_of_the_larger_models(backend: Backend) -> None:
    """Those that the numpy reference cannot build have its logits too."""
    # Those that numpy can build are compared by rows of the parity table.
    for model in sorted({*backend.models()} & {*ORACLES} - {*NumpyBackend().models()}):
        classifier = samples.build(backend, model, shape=IMAGE_SHAPES[model])
        oracle = NumpyClassifier(classifier.description, classifier.state())
        difference, row = logits_difference([classifier, oracle], model), PARITY[f"logits_of_{model.replace('-', '_')}"]
        require(difference <= row.limit, f"{row.what}: expected {row.tolerance}, measured {difference:.3g}")


@check("small-cnn")
def logits_of_any_number_of_images(backend: Backend) -> None:
    """An image's logits do not depend on the others; there may be none."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    one_by_one = np.concatenate([classifier.logits(data.images[i : i + 1]) for i in range(4)])
    close("logits of one image and of a batch", one_by_one, classifier.logits(data.images[:4]), 1e-4)
    require(classifier.logits(data.images[:0]).shape == (0, samples.CLASSES), "logits of no image: expected (0, k)")


@check("small-cnn")
def features_are_what_the_last_layer_takes(backend: Backend) -> None:
    """The last layer on the features gives the logits."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    state = classifier.state()
    expected = classifier.features(data.images) @ state["fc.weight"].T + state["fc.bias"]
    close("features", expected, classifier.logits(data.images), 1e-4)


@check("small-cnn")
def a_new_head_takes_the_same_features(backend: Backend) -> None:
    """One hidden layer, ReLU, linear layer, drawn by the core; the source is as it was; checkpoints bring it back."""
    source, data = samples.build(backend, "small-cnn"), samples.examples()
    before = source.state()
    made = source.with_head(5, seed=4)
    state = made.state()
    body = {name: value for name, value in before.items() if not name.startswith("fc.")}
    head = {name: value for name, value in state.items() if name.startswith("fc.")}
    same_state("with_head", {name: state.get(name, np.zeros(0)) for name in body}, body)
    same_state("the new head", head, initial_state(head, 4))
    inner = np.maximum(source.features(data.images) @ state["fc.hidden.weight"].T + state["fc.hidden.bias"], 0)
    expected = inner @ state["fc.out.weight"].T + state["fc.out.bias"]
    close("logits of the new head", made.logits(data.images), expected, 1e-4)
    same_state("with_head: the source", source.state(), before)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        checkpoint.save(path, {"model": state}, {"model": dict(made.description)})
        close("a loaded head", backend.load(path).logits(data.images), made.logits(data.images), 0)


@check("linear")
def state_is_a_copy_and_is_checked(backend: Backend) -> None:
    """States do not share memory; one that does not fit is refused whole."""
    classifier = samples.build(backend, "linear")
    before = classifier.state()
    classifier.state()["fc.weight"][...] = 0
    same_state("writing into a state", classifier.state(), before)
    lacking = {k: v for k, v in before.items() if k != "fc.bias"}
    others = np.zeros(99, np.float32), before["fc.bias"].astype(np.int32)
    for wrong in (lacking, {**before, "more": np.zeros(1)}, *({**before, "fc.bias": other} for other in others)):
        raises(CheckpointError, "load_state of another architecture", lambda wrong=wrong: classifier.load_state(wrong))  # type: ignore[misc]
    same_state("a refused load_state", classifier.state(), before)


@check("linear", "small-cnn")
def checkpoints_load_without_code(backend: Backend) -> None:
    """A checkpoint comes back bit by bit, in its own architecture only, and never imports anything."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        metadata = {"model": dict(classifier.description)}
        checkpoint.save(path, {"model": classifier.state()}, metadata)
        first = path.read_bytes()
        loaded = backend.load(path)
        close("a loaded checkpoint", loaded.logits(data.images), classifier.logits(data.images), 0)
        checkpoint.save(path, {"model": loaded.state()}, metadata)
        require(path.read_bytes() == first, "saving twice: expected the same bytes")
        other = backend.build("linear", classes=samples.CLASSES, image_shape=samples.SHAPE)
        raises(CheckpointError, "load into another model", lambda: backend.load(path, into=other))
        # A file from anywhere must not choose what is imported and called.
        checkpoint.save(path, {"model": classifier.state()}, {"model": {"model": "os:getcwd"}})
        raises(CheckpointError, "load of a model that the file names by import", lambda: backend.load(path))


@check("small-cnn")
def gradients_of_every_loss(backend: Backend) -> None:
    """Each attack loss and its gradient over the images are the oracle's."""
    (classifier, oracle), data = pair(backend, NumpyBackend(), "small-cnn"), samples.examples()
    targets = (data.labels + 1) % samples.CLASSES
    for loss in ATTACK_LOSSES:
        chosen = targets if loss in ("targeted-dlr", "margin") else None
        got = classifier.loss_gradient(data.images, data.labels, loss, chosen)
        expected = oracle.loss_gradient(data.images, data.labels, loss, chosen)
        for what, value, oracle_value in zip(("logits", "losses", "gradient"), got, expected, strict=True):
            close(f"{what} of {loss}", value, oracle_value, 1e-4)
    raises(SpecError, "an unknown loss", lambda: classifier.loss_gradient(data.images, data.labels, "hinge"))


def _attacks() -> list[AttackSpec]:
    return [
        samples.attack(**{"norm": norm, "eps": samples.radius(norm), "step_size": samples.radius(norm) / 3, **more})
        for norm in THREAT_MODELS
        for more in (
            {},
            {"keep_best": True},
            {"random_start": True},
            {"steps": 1},
            {"steps": 1, "kind": "n-fgsm", "random_start": True},
            {"random_start": True, "loss": "kl"},
            {"random_start": True, "restarts": 2, "steps": 2},
        )
    ]


@check("small-cnn")
def attacks_stay_inside_and_touch_nothing(backend: Backend) -> None:
    """In the ball, in [0, 1]; arrays, weights and statistics as they were; ε = 0 is the identity."""
    classifier = samples.build(backend, "small-cnn")
    state = classifier.state()
    for whole in (False, True):
        data = samples.examples(whole=whole)
        clean, before = data.float_images(), data.images.copy()
        for attack in _attacks():
            adversarial = classifier.perturb(data.images, data.labels, attack, np.random.default_rng(0))
            size = THREAT_MODELS.get(attack.norm).size(adversarial.astype(np.float64) - clean).max()
            require(adversarial.dtype == np.float32, f"perturb: expected float32, got {adversarial.dtype}")
            # Room for rounding in float32 only: a radius that is 1 % too large is at least 6e-4 off.
            require(
                size <= attack.reach * (1 + 1e-6) + 1e-6,
                f"perturb: expected at most ε = {attack.reach}, got {size:.8g}",
            )
            require(bool((adversarial >= 0).all() and (adversarial <= 1).all()), "perturb: expected pixels in [0, 1]")
            require(bool(np.array_equal(data.images, before)), "perturb: the caller's images were changed")
            require(bool((adversarial != clean).any()), "perturb: nothing was changed")
    same_state("perturb", classifier.state(), state)
    nothing = classifier.perturb(data.images, data.labels, samples.attack(eps=0.0))
    close("perturb with ε = 0", nothing, clean, 0)
    needs_rng = samples.attack(random_start=True)
    raises(SpecError, "a random start without rng", lambda: classifier.perturb(data.images, data.labels, needs_rng))


@check("small-cnn")
def attacks_on_half_precision_stay_inside(backend: Backend) -> None:
    """δ, projection and result are float32 whatever the network computes in: in the ball, and ε = 0 is the identity."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    half = backend.new({**classifier.description, "dtype": "float16"})
    half.load_state(classifier.state())
    require(half.precision == "float16", f"precision: expected float16, got {half.precision}")
    close("logits in float16", half.logits(data.images), classifier.logits(data.images), 0.1)
    for attack in (*_attacks(), samples.attack(eps=0.0)):
        adversarial = half.perturb(data.images, data.labels, attack, np.random.default_rng(0))
        size = THREAT_MODELS.get(attack.norm).size(adversarial.astype(np.float64) - data.images).max()
        # Without a radius nothing may move at all: images rounded to float16 would.
        reach = attack.reach
        require(size <= reach * (1 + 1e-6) + 1e-6 * (reach > 0), f"perturb in float16: ε = {reach}, got {size:.8g}")


@check("small-cnn")
def attacks_follow_the_oracle(backend: Backend) -> None:
    """Each attack is the oracle's, where it can be on the gradients that the classifier itself reports."""
    (classifier, oracle), data = pair(backend, NumpyBackend(), "small-cnn"), samples.examples()
    for attack in _attacks():
        start = None
        if attack.random_start:
            threat = THREAT_MODELS.get(attack.norm)
            # The oracle gets the start that the classifier will draw, or they would climb from different points.
            start = threat.random_start(np.random.default_rng(7), data.images.shape, attack.start_radius)
        if attack.loss == "kl" or attack.restarts > 1:
            # A classifier reports no gradient towards another prediction.
            expected = oracle.perturb(data.images, data.labels, attack, np.random.default_rng(7))
        else:
            expected = pgd(classifier.loss_gradient, data.images, data.labels, attack, start)
        adversarial = classifier.perturb(data.images, data.labels, attack, np.random.default_rng(7))
        # Where a gradient is near 0, or a value at a ReLU's corner, rounding decides the direction of a step.
        close(f"perturb by {attack}", adversarial, expected, 1e-3, share=0.99)
        if attack.keep_best:
            before, after = (classifier.loss_gradient(x, data.labels)[1] for x in (data.images, adversarial))
            require(bool((after >= before - 1e-4).all()), "keep_best: the loss fell below that of the start")


@check("small-cnn")
def costs_are_those_of_the_layers(backend: Backend) -> None:
    """Weights and FLOPs are exactly those of the shapes, also below a head and of a model without a name.

    What a step keeps is near to that: a framework may pad copies, or merge layers.
    """
    built = {model: samples.build(backend, model, shape=IMAGE_SHAPES[model]) for model in backend.models()}
    cases = [(name, each, network_cost(name, each.image_shape, each.classes)) for name, each in built.items()]
    headed = built["small-cnn"].with_head(7)
    cases.append(("small-cnn with a head", headed, network_cost("small-cnn", samples.SHAPE, 7, head=True)))
    native = built["small-cnn"].native
    if not isinstance(native, dict):  # weights of the numpy reference
        wrapped = backend.wrap(native, classes=samples.CLASSES, image_shape=samples.SHAPE)
        cases.append(("a wrapped model", wrapped, cases[[*built].index("small-cnn")][2]))
    for name, classifier, expected in cases:
        if expected is None:  # a model that only this backend has
            continue
        before = classifier.state()
        cost = classifier.cost()
        same_state(f"cost of {name}", classifier.state(), before)
        require(cost is not None, f"cost of {name}: expected {expected}, got None")
        for key in ("parameters", "forward_flops", "features"):
            got, wanted = getattr(cost, key), getattr(expected, key)
            require(got == wanted, f"cost of {name}: expected {key} of {wanted:,}, got {got:,}")
        share = getattr(cost, "activation_bytes", 0) / expected.activation_bytes
        require(
            0.5 <= share <= 2, f"cost of {name}: expected activations within a factor of 2, got {share:.2f} of them"
        )


@check("small-cnn")
def as_torch_module_agrees(backend: Backend) -> None:
    """The torch module that AutoAttack gets is the same function."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    try:
        import torch
    except ImportError:
        raises(NotInstalledError, "as_torch_module without torch", classifier.as_torch_module)
        return
    module = classifier.as_torch_module()
    x = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()).requires_grad_()
    logits = module(x)
    losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels), reduction="sum")
    (gradient,) = torch.autograd.grad(losses, x)
    expected, _, expected_gradient = classifier.loss_gradient(data.images, data.labels)
    close("as_torch_module", logits.detach().numpy(), expected, 1e-5)
    close("its gradient", gradient.numpy().transpose(0, 2, 3, 1), expected_gradient, 1e-4)
