"""A `torch.nn.Module` as a `Classifier`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from sat_core.arrays import as_float
from sat_core.backend import check_statistics
from sat_core.checkpoint import check_state
from sat_core.classifier import Classifier, State
from sat_core.errors import SpecError
from sat_core.initialisation import initial_state
from sat_core.precision import FP16_SCALE, attack_type, least_precise
from sat_core.reference.attacks import takes_start
from sat_core.sections import AttackSpec
from sat_torch import attacks
from sat_torch.attacked import attacked
from sat_torch.models.head import put_head
from sat_torch.modes import Evaluated, frozen, plain, run, tf32

_CHUNK = 512
"""Images per forward of calls that take any number of them."""
_COUNTER = "num_batches_tracked"


class Normalised(nn.Module):
    """A network on [0, 1] images: subtracts `mean` and divides by `std` per channel first, if there are any."""

    mean: Tensor
    std: Tensor

    def __init__(self, inner: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.inner = inner
        self.has_statistics = bool(mean)
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor(values, dtype=torch.float64, device="cpu").reshape(-1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images `(n, c, h, w)` in [0, 1]; the network gets them in the type of its weights."""
        return run(self.inner, self.normaliser(images.dtype)(images))

    def normaliser(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Images of that type to what the network takes."""
        if not self.has_statistics:
            return lambda images: images
        mean, std = self.mean.to(dtype), self.std.to(dtype)
        return lambda images: (images - mean) / std


@final
class TorchClassifier(Classifier):
    """See `sat_core.classifier.Classifier`. `module` takes tensors `(n, c, h, w)` in [0, 1]; `native` is inside it."""

    def __init__(
        self,
        native: nn.Module,
        device: torch.device,
        *,
        classes: int,
        image_shape: tuple[int, int, int],
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        description: Mapping[str, Any] | None = None,
        head: nn.Module | None = None,
    ) -> None:
        check_statistics(mean, std, image_shape)
        self.native = native
        self.module = Normalised(native, mean, std).to(device)
        self.device = device
        self.classes = classes
        self.image_shape = image_shape
        self.mean, self.std = mean, std
        self.description = description or {}
        self.head = head

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

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return self._over(self.module, images)

    def _features(self, images: np.ndarray) -> np.ndarray:
        return self._over(lambda x: self._last(x)[1], images)

    def _last(self, x: Tensor) -> tuple[str, Tensor]:
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
        return called[-1]

    def _with_head(self, classes: int, seed: int) -> TorchClassifier:
        with frozen(self.module), torch.no_grad():
            last, features = self._last(self.image_tensor(np.zeros((1, *self.image_shape), np.float32)))
        if features.ndim != 2:
            raise SpecError(f"with_head: expected features of shape (n, d), got {tuple(features.shape)}")
        with plain():
            native, head = put_head(copy.deepcopy(self.native), last, classes)
        made = TorchClassifier(
            native,
            self.device,
            classes=classes,
            image_shape=self.image_shape,
            mean=self.mean,
            std=self.std,
            description=self.description and {**self.description, "classes": classes, "head": True},
            head=head,
        )
        state, learning = made.state(), [name for name, p in native.named_parameters() if p.requires_grad]
        made.load_state(state | initial_state({name: state[name] for name in learning}, seed))
        return made

    def _perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, rng: np.random.Generator | None
    ) -> np.ndarray:
        images = as_float(images)
        start = takes_start(attack, images, rng)
        parts = [np.empty((0, *images.shape[1:]), np.float32)]
        with frozen(self.module):
            for i in range(0, len(images), _CHUNK):
                x, y = self._tensors(images[i : i + _CHUNK], labels[i : i + _CHUNK])
                noise = None if start is None else self.image_tensor(start[i : i + _CHUNK])
                found = attacks.pgd(self.module, x, y, attack, noise, gradient_scale=self._gradient_scale)
                parts.append(to_numpy_images(found))
        return np.concatenate(parts)

    def _loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y = self._tensors(images, labels)
        t = None if targets is None else torch.tensor(targets, device=self.device)
        with frozen(self.module):
            logits, losses, gradient = attacks.loss_gradient(
                self.module, x, y, loss, t, gradient_scale=self._gradient_scale
            )
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

    def attacked_torch_module(self, again: bool = True) -> nn.Module:
        return attacked(self, again)

    def state(self) -> State:
        return {name: to_numpy(value).copy() for name, value in self._tensors_by_name().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        own = self._tensors_by_name()
        check_state({name: np.empty(v.shape, _number(v)) for name, v in own.items()}, state, "model")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(torch.from_numpy(np.array(state[name])))

    def _tensors_by_name(self) -> dict[str, Tensor]:
        """Parameters and buffers, but for BatchNorm's counter, which our models never use (fixed momentum)."""
        named = self.native.state_dict()
        return {k: v for k, v in named.items() if not (self.description and k.endswith(_COUNTER))}

    def _over(self, forward: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
        with frozen(self.module), torch.no_grad():
            chunks = (
                self.image_tensor(as_float(images[i : i + _CHUNK])) for i in range(0, max(len(images), 1), _CHUNK)
            )
            return np.concatenate([to_numpy(forward(chunk).float()) for chunk in chunks])

    def _tensors(self, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        return self.image_tensor(as_float(images)), torch.tensor(labels, device=self.device)

    def image_tensor(self, images: np.ndarray) -> Tensor:
        """Float images `(n, h, w, c)` as `module` takes them."""
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(self.device, self.dtype)


def _number(tensor: Tensor) -> np.dtype:
    """A type of its kind; numpy has none for bfloat16."""
    return np.dtype(np.float32) if tensor.is_floating_point() else torch.empty(0, dtype=tensor.dtype).numpy().dtype


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor's values on the CPU; bfloat16, which numpy has not, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def to_numpy_images(tensor: Tensor) -> np.ndarray:
    """`(n, c, h, w)` to float32 `(n, h, w, c)`, contiguous."""
    return np.ascontiguousarray(to_numpy(tensor.float()).transpose(0, 2, 3, 1))
