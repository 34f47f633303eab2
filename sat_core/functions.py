"""Objects of the core that need code in a framework: one function per backend, found when a backend asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar

from sat_core.errors import SpecError, brief, quoted


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
