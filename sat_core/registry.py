"""Names to objects, with entry points for what other packages add and the nearest name when one is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sat_core.errors import NotInstalledError, SpecError, install, quoted

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

_ALIKE = 0.75
"""How alike a guess has to be, as `difflib` counts it; its own default of 0.6 gives nonsense."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint, `` (did you mean 'x'?)``, for the closest of `names`; an empty string if none is close.

    Of a dotted key, section and name both have to be close; a name alone stands for every key that ends in it.
    """
    # difflib's time grows with the square of the length, and the name may come from any file.
    likeness = {k: _likeness(name.lower(), k.lower()) for k in names} if len(name) <= 100 else {}
    best = max(likeness.values(), default=0.0)
    close = [repr(k) for k, value in likeness.items() if value == best >= _ALIKE]
    return f" (did you mean {' or '.join(close[: 3 if best == 1 else 1])}?)" if close else ""


def unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """Return the message for a name that is none of `names`: with the closest one, and all there are."""
    names = list(names)
    return f"unknown {kind} {quoted(name)}{nearest(name, names)}\nexpected one of: {', '.join(names)}"


def _likeness(name: str, key: str) -> float:
    parts, others = name.split("."), key.split(".")
    if len(parts) == 1 and name == others[-1]:
        return 1.0
    return min(map(_alike, parts, others)) if len(parts) == len(others) else 0.0


def _alike(word: str, other: str) -> float:
    shorter = len(word) >= 3 and other.startswith(word)
    longer = len(other) >= 3 and sorted(word[: len(other)]) == sorted(other)  # "epsilon" for "eps", "pdg" for "pgd"
    ratio = difflib.SequenceMatcher(None, word, other).ratio()
    return ratio + (1 - ratio) * _ALIKE if shorter or longer else ratio


class Registry(Generic[T]):
    """A table of named things of one kind.

    Args:
        kind: the word for them in messages.
        group: installed packages add entries through entry points of this group. They name the very object that
            `register` would take, and are looked up for a name that is not there yet, never on import.
        extra: the extra of sat-core that installs them; by default their name.
        of: the class of the entries; any object if left out.

    >>> fruit = Registry("fruit")
    >>> fruit.register("apple", 1), fruit.get("apple"), "pear" in fruit
    (1, 1, False)
    """

    def __init__(
        self, kind: str, group: str | None = None, extra: str | None = None, *, of: type[Any] | None = None
    ) -> None:
        self.kind, self.group, self.extra, self.of = kind, group, extra, of
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Add `entry` under `name`; raises SpecError if the name is taken, or the entry is of another class."""
        if name in self._entries:
            raise SpecError(f"{self.kind} {name!r} is registered already; choose another name")
        self._entries[name] = self._checked(name, entry)
        return entry

    def get(self, name: str) -> T:
        """Return the entry called `name`.

        Raises:
            SpecError: names the nearest entry, if there is none of that name; or what its entry point names is none.
            NotInstalledError: says what to install, if its package cannot be imported.
        """
        if name not in self._entries:
            points = self._entry_points()
            if name not in points:
                raise SpecError(unknown(self.kind, name, self.names()))
            try:
                entry = points[name].load()
            except AttributeError as error:
                raise SpecError(f"{self.kind} {name!r}: its entry point names nothing ({error})") from error
            except ImportError as error:
                owner = getattr(points[name].dist, "name", "sat-core")
                # Our extras install nothing for a plug-in of somebody else.
                ours = owner == "sat-core"
                remedy = install(self.extra or name) if ours else f"install what {owner} needs for it"
                raise NotInstalledError(f"{self.kind} {name!r} is not installed ({error}): {remedy}") from error
            # its module may have registered it, too
            self._entries[name] = self._checked(name, entry)
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """Return all names, those of installed packages included, in order of registration."""
        return tuple(dict.fromkeys([*self._entries, *self._entry_points()]))

    def loaded(self) -> tuple[str, ...]:
        """Return the names of what is here already: what was registered, and of installed packages what was asked for.

        What is done for each of these does not change with what else is installed.
        """
        return tuple(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        # entry points are looked up last: it takes milliseconds, and a spec asks for each of its names
        return isinstance(name, str) and (name in self._entries or name in self._entry_points())

    def _checked(self, name: str, entry: T) -> T:
        if self.of is not None and not isinstance(entry, self.of):
            got = f"the class {entry.__name__}; name an object of it" if isinstance(entry, type) else quoted(entry)
            raise SpecError(f"{self.kind} {name!r}: expected an object of the class {self.of.__name__}, got {got}")
        own = getattr(entry, "name", name)
        if self.of is not None and own != name:
            raise SpecError(f"{self.kind} {name!r}: expected its attribute `name` to be the same, got {quoted(own)}")
        return entry

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self.group is None:
            return {}
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=self.group)}
