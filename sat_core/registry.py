"""Names to objects, with entry points for what other packages add and the nearest name when one is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from sat_core.errors import NotInstalledError, SpecError


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: `` (did you mean 'x'?)`` for the closest of `known`, or an empty string."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named things of one kind.

    `kind` is the word used in messages. With `group`, installed packages add entries through entry points of that
    group; they are looked up on first use, never on import. `extra` is what installs them, by default their name.
    """

    def __init__(self, kind: str, group: str | None = None, extra: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self.extra = extra
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Add `entry` under `name`; raises SpecError if the name is taken."""
        if name in self._entries:
            raise SpecError(f"{self.kind} {name!r} is registered already; choose another name")
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> T:
        """The entry called `name`; SpecError names the nearest one, NotInstalledError what to install."""
        if name not in self._entries:
            points = self._entry_points()
            if name not in points:
                known = self.names()
                raise SpecError(
                    f"unknown {self.kind} {name!r}{nearest(name, known)}\nexpected one of: {', '.join(known)}"
                )
            try:
                self._entries[name] = points[name].load()
            except ImportError as error:
                raise NotInstalledError(
                    f"{self.kind} {name!r} is not installed ({error}): pip install 'sat-core[{self.extra or name}]'"
                ) from error
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """All names, those of installed packages included, in order of registration."""
        return tuple(dict.fromkeys([*self._entries, *self._entry_points()]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self.group is None:
            return {}
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=self.group)}
