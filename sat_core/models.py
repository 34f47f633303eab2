"""Networks of other packages that a study names without a module, as ``model.name = "my-net"``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, final

import attrs

from sat_core.functions import PerBackend
from sat_core.registry import Registry


@final
@attrs.frozen(kw_only=True)
class Model(PerBackend):
    """A network that a plug-in brings, beside those of the backends.

    Attributes:
        name: In the registry.
        functions: Per backend a factory ``function(classes=, image_shape=)``, which returns a native model with new
            weights; images in [0, 1] go in, logits come out. `Backend.build` wraps it as any model of a user's.
    """

    kind: ClassVar[str] = "model"

    name: str
    functions: Mapping[str, str | Callable[..., Any]]


MODELS: Registry[Model] = Registry("model", "sat_core.models", of=Model)
