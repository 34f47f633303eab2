"""A `torch.nn.Module` as a `Classifier`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from sat_core.attack_spec import AttackSpec
from sat_core.chunks import CHUNK
from sat_core.classifier import Classifier, State
from sat_core.errors import SpecError
from sat_core.initialisation import initial_state
from sat_core.input_spec import InputSpec
from sat_core.network_cost import NetworkCost
from sat_core.precision import FP16_SCALE, HALF, attack_type, least_precise
from sat_core.state import check_state
from sat_torch import attacks
from sat_torch.arrays import like, to_numpy, to_numpy_images
from sat_torch.bridge import Evaluated, folded_module
from sat_torch.cost import measured
from sat_torch.folded import as_built, hooked
from sat_torch.inputs import OnImages
from sat_torch.memory import images_at_once, kept_bytes
from sat_torch.models.head import put_head
from sat_torch.modes import frozen, plain, tf32

_COUNTER = "num_batches_tracked"


@final
class TorchClassifier(Classifier):
    """See `sat_core.classifier.Classifier`. `module` takes tensors `(n, c, h, w)` in [0, 1]; `native` is inside it.

    Args:
        native: what `inputs` makes of images to logits; used as it is.
        device: where it computes.
        inputs: classes, shape of the images, and what stands in front of the network.
        description: of one of our networks, as `Backend.new` takes it; none for a user's.
        head: the part of `native` that learns, where the rest is frozen.
    """

    out_of_memory = (torch.OutOfMemoryError,)

    def __init__(
        self,
        native: nn.Module,
        device: torch.device,
        inputs: InputSpec,
        *,
        description: Mapping[str, Any] | None = None,
        head: nn.Module | None = None,
    ) -> None:
        self.inputs = inputs
        self.native = native
        self.module = OnImages(native, inputs).to(device)
        self.device = device
        self.description = description or {}
        self.head = self._new_head = head
        self._frozen: list[nn.Parameter] = []
        self._kept: int | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Type of images and δ: float32, or float64 in a float64 training."""
        return getattr(torch, attack_type(self.precision))

    @property
    def precision(self) -> str:  # type: ignore[override]
        """See `sat_core.classifier.Classifier.precision`."""
        return least_precise({str(p.dtype).removeprefix("torch.") for p in self.module.parameters()})

    @property
    def torch_device(self) -> str:  # type: ignore[override]
        """See `sat_core.classifier.Classifier.torch_device`."""
        return str(self.device)

    @property
    def capturable(self) -> bool:  # type: ignore[override]
        """See `Classifier`: unless someone listens to a layer."""
        return not hooked(self.module)

    def images_at_once(self) -> int:
        """See `Classifier`: on a GPU, found from its multiprocessors and its free memory."""
        if self.device.type != "cuda":
            return CHUNK
        if self._kept is None:
            image = torch.zeros((1, *np.roll(self.image_shape, 1)), dtype=self.dtype, device=self.device)
            # a network that draws must draw afterwards what it would have drawn
            with frozen(self.module), torch.random.fork_rng([self.device]):
                self._kept = kept_bytes(self.module, image)
        values = max(math.prod(self.image_shape), math.prod(self.inputs.network_shape))
        return images_at_once(self.device, self._kept, values)

    def cost(self) -> NetworkCost:
        return measured(self.module, self.image_tensor(self._one()), self._last_input)

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return self._run(self.module, images)

    def _features(self, images: np.ndarray) -> np.ndarray:
        return self._run(lambda x: self._last_input(x)[1], images)

    def _last_input(self, x: Tensor) -> tuple[str, Tensor]:
        """Name and input of the linear layer that is called last for images `x`."""
        called: list[tuple[str, Tensor]] = []
        hooks = [
            layer.register_forward_pre_hook(lambda _layer, inputs, name=name: called.append((name, inputs[0])))
            for name, layer in self.native.named_modules()
            if isinstance(layer, nn.Linear)
        ]
        try:
            self.module(x)
        finally:
            for hook in hooks:
                hook.remove()
        if not called:
            raise SpecError("features: expected a model that ends in a torch.nn.Linear, found none")
        # by the order of calls: a model may declare its layers in another
        return called[-1]

    def last_layer(self) -> tuple[str, ...]:
        name, layer = self._last()
        return () if layer is None else tuple(f"{name}.{key}".lstrip(".") for key in layer.state_dict())

    def learn(self, layers: str) -> None:
        """See `Classifier`. All parameters below the head are told to want no gradient, until all learn again."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self.head, self._frozen = self._new_head, []
        if layers == "head" and self._new_head is None:
            self.head = self._last()[1]
            if self.head is None:
                raise SpecError("model.layers: expected a network whose logits a torch.nn.Linear makes, found none")
            own = {id(p) for p in self.head.parameters()}
            self._frozen = [p for p in self.native.parameters() if p.requires_grad and id(p) not in own]
            for parameter in self._frozen:
                parameter.requires_grad_(False)

    def _last(self) -> tuple[str, nn.Linear | None]:
        """Name and layer that makes the logits."""
        try:
            with frozen(self.module), torch.no_grad():
                name, _ = self._last_input(self.image_tensor(self._one()))
        except SpecError:
            return "", None
        layer = self.native.get_submodule(name)
        # a linear layer deep inside may be called last where a convolution makes the logits
        assert isinstance(layer, nn.Linear)  # noqa: S101
        return (name, layer) if self._makes_logits(layer.out_features) else ("", None)

    def _with_head(self, classes: int, seed: int) -> TorchClassifier:
        with frozen(self.module), torch.no_grad():
            last, features = self._last_input(self.image_tensor(np.zeros((1, *self.image_shape), np.float32)))
        if features.ndim != 2:
            raise SpecError(f"with_head: expected features of shape (n, d), got {tuple(features.shape)}")
        with plain():
            native, head = put_head(copy.deepcopy(self.native), last, classes)
        inputs = attrs.evolve(self.inputs, classes=classes)
        description = self.description and {**self.description, "classes": classes, "head": True}
        made = TorchClassifier(native, self.device, inputs, description=description, head=head)
        state, learning = made.state(), [name for name, p in native.named_parameters() if p.requires_grad]
        # the core draws the head's weights, so that a seed gives the same head in every backend
        made.load_state(state | initial_state({name: state[name] for name in learning}, seed))
        return made

    def _perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, start: np.ndarray | None
    ) -> np.ndarray:
        x, y = self._tensors(images, labels)
        noise = None if start is None else self.image_tensor(start)
        with frozen(self.module):
            adversarial = attacks.perturb(self.module, x, y, attack, [noise], gradient_scale=self._gradient_scale)
        return to_numpy_images(adversarial)

    def _loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y = self._tensors(images, labels)
        t = None if targets is None else torch.tensor(targets, device=self.device)
        scale = self._gradient_scale
        with frozen(self.module):
            logits, losses, gradient = attacks.loss_gradient(self.module, x, y, loss, t, gradient_scale=scale)
        return to_numpy(logits), to_numpy(losses), to_numpy_images(gradient)

    @property
    def _gradient_scale(self) -> float:
        return FP16_SCALE if self.precision == "float16" else 1.0

    @contextmanager
    def exact(self) -> Iterator[None]:
        with tf32(False):
            yield

    def as_torch_module(self) -> nn.Module:
        return Evaluated(self.module, self.dtype)

    def attacked_torch_module(self) -> nn.Module:
        """See `Classifier`: folded, if it is one of our networks; a user's module is attacked as it is."""
        # in half precision the product of weights and BatchNorm's scale would be rounded once more
        if not self.description or self.precision in HALF or not as_built(self.native):
            return self.as_torch_module()
        return folded_module(self.module, self.native, self.module.preparing(self.dtype), self.dtype)

    def state(self) -> State:
        return {name: to_numpy(value).copy() for name, value in self.variables().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        own = self.variables()
        check_state({name: like(value) for name, value in own.items()}, state, "model")
        with torch.no_grad():
            for name, value in own.items():
                # np.array copies: from_numpy warns of arrays that are read-only
                value.copy_(torch.from_numpy(np.array(state[name])))

    def variables(self) -> dict[str, Tensor]:
        """Parameters and buffers by canonical name, but for BatchNorm's counter in our models.

        These have a fixed momentum and never use it, and other frameworks have no such counter.
        """
        named = self.native.state_dict()
        return {k: v for k, v in named.items() if not (self.description and k.endswith(_COUNTER))}

    def _run(self, forward: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
        with frozen(self.module), torch.no_grad():
            return to_numpy(forward(self.image_tensor(images)).float())

    def _tensors(self, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        # both are copied: from_numpy takes no negative strides, which views such as labels[::-1] have
        return self.image_tensor(images), torch.tensor(labels, device=self.device)

    def image_tensor(self, images: np.ndarray) -> Tensor:
        """Float images `(n, h, w, c)` as `module` takes them."""
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(self.device, self.dtype)
