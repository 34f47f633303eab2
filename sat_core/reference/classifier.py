"""Networks in numpy as classifiers, with analytic gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.classifier import Classifier, State
from sat_core.errors import NotInstalledError, SpecError, quoted
from sat_core.initialisation import initial_state
from sat_core.input_spec import InputSpec
from sat_core.outputs import is_one_logit
from sat_core.precision import attack_type
from sat_core.reference.attacks import pgd
from sat_core.reference.inputs import front
from sat_core.reference.layers import Back, Layer, Pass, chain, linear, relu
from sat_core.reference.losses import loss_and_gradient
from sat_core.reference.networks import HEAD, NEW_HEAD, ORACLES, head_shapes
from sat_core.state import check_state


@final
class NumpyClassifier(Classifier):
    """A network of `ORACLES` as a classifier.

    All arithmetic is float64, and attacks keep images in `attack_type`.

    Args:
        description: names the network; see `Backend.new`.
        state: its weights, used as they are and trained in place: float32, or float64 in a float64 training.
    """

    def __init__(self, description: Mapping[str, Any], state: State) -> None:
        self.description = description
        self.inputs = InputSpec.from_dict(description)
        self.native = state
        if self.inputs.output:
            raise SpecError(
                f"model.output: the numpy reference's networks return logits alone, got {quoted(self.inputs.output)}"
            )
        self._front = front(self.inputs)
        channels = self.inputs.network_shape[2]
        self._mean = np.array(self.inputs.mean or (0.0,) * channels)
        self._std = np.array(self.inputs.std or (1.0,) * channels)
        self._body = ORACLES[description["model"]]
        self._last = NEW_HEAD if description.get("head") else HEAD
        self.head = NEW_HEAD if description.get("head") else None

    @property
    def dtype(self) -> np.dtype:
        """Type of the weights."""
        return next(iter(self.native.values())).dtype

    @property
    def precision(self) -> str:  # type: ignore[override]
        """See `sat_core.classifier.Classifier.precision`."""
        return self.dtype.name

    def run(self, state: Pass, images: np.ndarray) -> tuple[np.ndarray, Back]:
        """Run the whole network as a layer; see `forward`."""
        return self.forward(images, state)

    def forward(self, images: np.ndarray, state: Pass, network: Layer | None = None) -> tuple[np.ndarray, Back]:
        """Run a network on images that are scaled and normalised first.

        Args:
            images: float `(n, h, w, c)` in [0, 1].
            state: weights and mode.
            network: normalised `(n, c, h, w)` to the output; by default the whole network, to logits.

        Returns:
            The output, and the function from the gradient over it to that over `images`; all float64.
        """
        scaled, over_images = self._front(images)
        normal = ((scaled - self._mean) / self._std).transpose(0, 3, 1, 2)
        output, back = (network or chain(self._body, self._last))(state, normal)
        if network is None and is_one_logit(output.shape, len(images), self.classes):
            return np.pad(output, ((0, 0), (1, 0))), lambda g: over_images(
                back(g[:, 1:]).transpose(0, 2, 3, 1) / self._std
            )
        return output, lambda g: over_images(back(g).transpose(0, 2, 3, 1) / self._std)

    def gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str = "ce", targets: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do as `loss_gradient` for float images, in float64."""
        logits, back = self.forward(images, Pass(self.native))
        losses, over_logits = loss_and_gradient(logits, labels, loss, targets)
        return logits, losses, back(over_logits)

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return self.forward(images, Pass(self.native))[0].astype(np.float32)

    def _features(self, images: np.ndarray) -> np.ndarray:
        # Features are what the last linear layer takes, so of a head its hidden layer.
        inner = chain(linear("fc.hidden"), relu) if self._last is NEW_HEAD else chain()
        network = chain(self._body, inner)
        return self.forward(images, Pass(self.native), network)[0].astype(np.float32)

    def last_layer(self) -> tuple[str, ...]:
        return ("fc.out.weight", "fc.out.bias") if self._last is NEW_HEAD else ("fc.weight", "fc.bias")

    def learn(self, layers: str) -> None:
        """See `sat_core.classifier.Classifier.learn`; of a network `with_head`, the whole new head learns always."""
        self.head = self._last if layers == "head" or self._last is NEW_HEAD else None

    def _with_head(self, classes: int, seed: int) -> NumpyClassifier:
        width = self.native["fc.weight"].shape[1]
        shapes = head_shapes({"fc.weight": (classes, width)})
        head = initial_state({name: np.zeros(shape, self.dtype) for name, shape in shapes.items()}, seed)
        # `state` copies: training the head must not reach into the source.
        body = {name: value for name, value in self.state().items() if not name.startswith("fc.")}
        return NumpyClassifier({**self.description, "classes": classes, "head": True}, body | head)

    def _perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, start: np.ndarray | None
    ) -> np.ndarray:
        x = images.astype(attack_type(self.precision))
        return pgd(self.gradient, x, labels, attack, start).astype(np.float32)

    def _loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits, losses, gradient = self.gradient(images, labels, loss, targets)
        return logits.astype(np.float32), losses.astype(np.float32), gradient.astype(np.float32)

    def as_torch_module(self) -> Any:
        raise NotInstalledError("the numpy reference has no torch module; take a backend such as 'torch'")

    def state(self) -> State:
        return {name: value.copy() for name, value in self.native.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        check_state(self.native, state, self.description["model"])
        for name, value in state.items():
            self.native[name][...] = value
