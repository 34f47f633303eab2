"""Networks of other libraries by name, as ``timm:resnet18d?pretrained``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, final

import attrs

from sat_core.errors import NotInstalledError, SatError, SpecError, brief, quoted
from sat_core.input_spec import InputSpec
from sat_core.registry import nearest

ZOOS = {"timm": "torch", "torchvision": "torch", "robustbench": "torch", "keras": "tensorflow"}
"""Libraries by the word before the colon, and the backend that computes their networks; a backend may have others
(`sat_core.backend.Backend.zoos`).
"""


_OURS = ("pretrained", "size")
"""Options that mean the same for each library."""
_WRONG = {
    "weights": "\nuse ?pretrained or ?pretrained=TAG",
    **dict.fromkeys(("num_classes", "classes"), "\nthe classes are those of the data; leave it out"),
}
"""What libraries call things that are said otherwise here."""


@final
@attrs.frozen(kw_only=True)
class ZooName:
    """A name such as ``timm:resnet18d?pretrained&drop_rate=0.1``, in parts.

    Attributes:
        zoo: The library.
        network: What it calls the network.
        options: What comes after the question mark; of an option without a value that is an empty text.
    """

    zoo: str
    network: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, name: str) -> ZooName:
        """Split a name; SpecError for an option that is given twice, has no name, or is one of ours misspelt.

        >>> ZooName.parse("timm:resnet18d?pretrained&drop_rate=0.1").options
        {'pretrained': '', 'drop_rate': '0.1'}
        """
        place, _, query = name.partition("?")
        zoo, _, network = place.partition(":")
        options: dict[str, str] = {}
        for pair in query.split("&") if query else ():
            key, _, value = pair.partition("=")
            if not key or key in options:
                raise SpecError(
                    f"model.name: expected OPTION or OPTION=VALUE after '?' in {quoted(name)}, each once, "
                    f"got {quoted(pair)}"
                )
            if "?" in value or "?" in key:
                raise SpecError(f"model.name: options are joined by '&' in {quoted(name)}, got {quoted(pair)}")
            # not longer ones: "pretrained_cfg" is timm's
            ours = [each for each in _OURS if len(key) <= len(each) + 1]
            if hint := _WRONG.get(key) or (key not in _OURS and nearest(key, ours)):
                raise SpecError(f"model.name: unknown option {quoted(key)} of {quoted(name)}{hint}")
            options[key] = value
        return cls(zoo=zoo, network=network, options=options)

    def __str__(self) -> str:
        return f"{self.zoo}:{self.network}"

    @property
    def pretrained(self) -> bool:
        """Whether the zoo's weights are asked for."""
        return "pretrained" in self.options

    @property
    def size(self) -> int | None:
        """To what images are to be scaled; None where nothing is said. Raises SpecError."""
        size = self.options.get("size")
        if size is not None and not (size.isascii() and size.isdecimal() and int(size) >= 1):
            raise SpecError(f"model.name: expected size=N with N pixels, got size={quoted(size)}")
        return None if size is None else int(size)

    def keywords(self, *more: str) -> dict[str, Any]:
        """Return the options for the library: numbers, true and false as such; without `more`, which are ours."""
        ours = {"pretrained", "size", *more}
        return {key: _value(text) for key, text in self.options.items() if key not in ours}

    def check_among(self, names: Iterable[str], listing: str) -> None:
        """Raise SpecError unless the network is one of `names`; `listing` is how to see all of them."""
        names = [*names]
        if self.network in names:
            return
        wanted = f"unknown network {quoted(str(self))}" if self.network else f"expected a network after {self.zoo}:"
        near = nearest(self.network, names) if self.network else ""
        few = f"\none of {', '.join(names)}" if not near and len(names) <= _LISTED else ""
        raise SpecError(f"model.name: {wanted}{near}{few}\n{self.zoo} has {len(names):,} networks: {listing}")


@contextmanager
def library_makes(name: ZooName, folder: str, call: str) -> Iterator[None]:
    """Inside, a library makes a network, with weights from its own cache or hub; its errors become one clear line.

    Args:
        name: of the network.
        folder: where the library looks for weights.
        call: makes the library fetch them.
    """
    try:
        yield
    except SatError:
        raise
    except ImportError as error:
        raise NotInstalledError(f"model.name: {name} needs a package that is missing ({brief(error)})") from error
    except Exception as error:  # a library may raise anything
        if name.pretrained and _of_a_network(error):
            raise SpecError(
                f"model.name: the weights of {name} are not in {folder} and cannot be fetched ({brief(error)})\n"
                f"fetch them where there is a network, and copy that folder: {call}"
            ) from error
        scaled = "\n?size=N after the name scales images inside the network" if "size" in str(error) else ""
        raise SpecError(f"model.name: {name.zoo} does not make {name} ({brief(error)}){scaled}") from error


def _of_a_network(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came from, is of files or connections."""
    clients = ("httpx", "requests", "urllib3", "huggingface_hub", "gdown")
    while error is not None:
        if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in clients:
            return True
        error = error.__cause__ or error.__context__
    return False


_LISTED = 150
"""Most names of networks that a message has."""


def _value(text: str) -> Any:
    words = {"": True, "true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


@final
@attrs.frozen(kw_only=True, eq=False)
class ZooNetwork:
    """A network that a zoo made.

    Attributes:
        native: The framework's own object, unchanged, so that its weights have the names that its library gives them.
        inputs: What stands in front of it: the zoo's own record of mean, deviation, scaling and crop where its weights
            are the zoo's, else what was asked for.
        taken: One line on what was taken from the record, as it is printed; empty if nothing was.
        weights_for: How many classes the zoo's weights are for, where the last layer is new since the data have others;
            0 where it is not.
    """

    native: Any
    inputs: InputSpec
    taken: str = ""
    weights_for: int = 0


class Zoo(Protocol):
    """Makes networks of one library for one backend. What it cannot make is a SpecError in one line."""

    def __call__(self, name: ZooName, inputs: InputSpec) -> ZooNetwork:
        """Make a network.

        Args:
            name: Which. ``pretrained`` (or ``pretrained=TAG``) among its options takes the zoo's weights, from the
                library's own cache or hub; ``size=N`` scales images to N x N inside; others go to the library.
            inputs: Classes and images of the data; normalisation for weights that are not the zoo's.
        """
        ...
