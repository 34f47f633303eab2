"""Models that users pass in: which backend they belong to, and as a `Classifier`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sat_core.backend import BACKENDS, Backend, get_backend
from sat_core.classifier import Classifier
from sat_core.errors import SpecError, type_name

_BACKEND_OF = {"keras": "tensorflow"}
"""Backends of modules whose name is not the backend's own."""


def backend_of(model: Any, backend: str | Backend | None = None, device: str | None = None) -> Backend:
    """Find the backend that computes with `model`.

    Args:
        model: A native model, whose type decides; or a name or a path, for which `backend` or the environment variable
            SAT_BACKEND decides, and PyTorch if neither is given.
        backend: A backend, or the name of one.
        device: `cpu`, `cuda` or `cuda:N`; by default where the model's weights are, and the CPU for a name.

    Raises:
        SpecError: The model is of no framework that a backend is installed for.
        NotInstalledError: The backend's framework is missing.
    """
    if isinstance(backend, Backend):
        return backend
    if backend is None and not isinstance(model, str | Path):
        # The class itself is in a module of the user's; one of its bases is the framework's.
        modules = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
        names = [name for module in sorted(modules) if (name := _BACKEND_OF.get(module, module)) in BACKENDS]
        if not names:
            raise SpecError(
                f"model: expected a model of {', '.join(BACKENDS)} or the name of one, got {type_name(model)}\n"
                "if a backend can compute with it, say which: backend=NAME"
            )
        backend = names[0]
    return get_backend(backend, device or _device_of(model))


def _device_of(model: Any) -> str:
    """The device of PyTorch's parameters; TensorFlow places by itself, and names its devices otherwise."""
    parameters = getattr(model, "parameters", None)
    first = next(iter(parameters()), None) if callable(parameters) else None
    device = str(getattr(first, "device", "cpu"))
    return device if device.startswith("cuda") else "cpu"


def as_classifier(
    model: Any,
    backend: Backend,
    *,
    classes: int,
    image_shape: tuple[int, int, int],
) -> Classifier:
    """Give `model` as a classifier: one as it is, a native model wrapped.

    Raises:
        SpecError: The model does not fit; see `Backend.wrap`.
    """
    if isinstance(model, Classifier):
        return model
    return backend.wrap(model, classes=classes, image_shape=image_shape)
