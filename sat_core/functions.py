"""Objects of the core that need code in a framework: one function per backend, found when a backend asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

from sat_core.errors import SatError, SpecError, brief, quoted

_MEMORY = ("OutOfMemoryError", "ResourceExhaustedError")
"""Errors of PyTorch and TensorFlow for a full device, which pass as they are: calls are tried on fewer images then."""


class PerBackend:
    """Something whose code in each framework is a function of its own, as that of other packages.

    Attributes:
        kind: What it is in messages, as "loss".
        name: In its registry.
        functions: Backend to function, itself or as ``package.module:function``. By name, the module is imported when
            the backend is used, so that whoever defines the object imports no framework.
    """

    kind: ClassVar[str]
    name: str
    functions: Mapping[str, str | Callable[..., Any]] = {}

    def needs_function(self, backend: str) -> bool:
        """Return whether a backend cannot use the object without a function for it."""
        return True

    def check_function(self, backend: str) -> None:
        """Raise SpecError if a backend cannot use the object, before anything is computed; see `function`."""
        if self.needs_function(backend):
            self.function(backend)

    def function(self, backend: str) -> Callable[..., Any]:
        """Return the function for a backend.

        Raises:
            SpecError: There is none, or it cannot be imported.
        """
        function = self.functions.get(backend)
        if function is None:
            others = ", ".join(self.functions) or "none"
            raise SpecError(
                f"{self.kind} {self.name!r}: has no function for the backend {quoted(backend)}, only for: {others}\n"
                f"whoever defines it adds one: functions = {{{backend!r}: 'package.module:function'}}"
            )
        if not isinstance(function, str):
            return function
        module, _, attribute = function.partition(":")
        try:
            found: Callable[..., Any] = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise SpecError(
                f"{self.kind} {self.name!r}: cannot import its function {quoted(function)} for the backend "
                f"{quoted(backend)} ({brief(error)})"
            ) from error
        return found

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the object; where it fails, SpecError names the object and what was raised."""
        try:
            return function(*arguments)
        except SatError:
            raise
        except Exception as error:  # a plug-in may raise anything
            if type(error).__name__ in _MEMORY:
                raise
            raise SpecError(f"{self.kind} {self.name!r}: {brief(error)}") from error

    def check_shape(self, value: Any, shape: Sequence[int | None], expected: str) -> None:
        """Raise SpecError if what a function returned has another shape, as far as graphs know it.

        Args:
            value: What was returned.
            shape: The right one; None where it is not known while a graph is traced.
            expected: What was expected, in words.
        """
        found = getattr(value, "shape", None)
        if getattr(found, "rank", 0) is None:  # TensorFlow knows nothing of it
            return
        if found is not None and len(found) == len(shape):
            # 1 would be broadcast, whatever the right number is
            pairs = zip(found, shape, strict=True)
            if all(own is None or own == right or (right is None and own != 1) for own, right in pairs):
                return
        got = type(value).__name__ if found is None else tuple(found)
        raise SpecError(f"{self.kind} {self.name!r}: expected {expected}, got {got}")
