"""Networks of other libraries by name, as ``timm:resnet18d?pretrained``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, final

import attrs

from sat_core.errors import SpecError, quoted
from sat_core.input_spec import InputSpec

ZOOS = {"timm": "torch", "torchvision": "torch", "robustbench": "torch", "keras": "tensorflow"}
"""Libraries by the word before the colon, and the backend that computes their networks; a backend may have others
(`sat_core.backend.Backend.zoos`).
"""


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
        """Split a name; SpecError for an option that is given twice or has no name, or where no network is named.

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
            options[key] = value
        if not network:
            raise SpecError(f"model.name: expected a network after {zoo}:, got {quoted(name)}")
        return cls(zoo=zoo, network=network, options=options)


@final
@attrs.frozen(kw_only=True, eq=False)
class ZooNetwork:
    """A network that a zoo made.

    Attributes:
        native: The framework's own object, unchanged, so that its weights have the names that its library gives them.
        inputs: What stands in front of it: the zoo's own record of mean, deviation, scaling and crop where its weights
            are the zoo's, else what was asked for.
        taken: One line on what was taken from the record, as it is printed; empty if nothing was.
    """

    native: Any
    inputs: InputSpec
    taken: str = ""


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
