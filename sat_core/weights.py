"""Weights from files of other programs: which of their tables holds them, and how their names become a network's.

Files are read by backends, without executing anything in them; what is said here is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core.errors import CheckpointError, quoted, shortened, type_name

TABLES = ("state_dict", "model_state_dict", "model", "net", "ema", "state_dict_ema", "model_ema")
"""Names under which training scripts save the weights of a network beside other things; the first found is taken."""
WRAPPERS = {"module": "DataParallel or DistributedDataParallel", "_orig_mod": "torch.compile"}
"""Parts of names that modules of PyTorch put before those of the network inside, and whose."""
_COUNTER = "num_batches_tracked"


@final
@attrs.frozen(kw_only=True, eq=False)
class Weights:
    """What a file holds of a network.

    Attributes:
        path: Of the file.
        arrays: Weights and statistics by name.
        taken: What was chosen and renamed, one line each, as it is printed.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]
    taken: tuple[str, ...] = ()

    def fitted(
        self, expected: Mapping[str, np.ndarray], fresh: tuple[str, ...] = ()
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Return a state for a network, and lines on what was done for it.

        Names of wrappers, and a prefix under which all of the network is, are taken away; counters of BatchNorm that
        old files lack are 0.

        Args:
            expected: The state of the network as it is.
            fresh: Names of its last layer's weights if that is new, so that it keeps its own where their shape is
                another.

        Raises:
            CheckpointError: Names the first array that is missing, surplus, of another shape, or not finite.
        """
        arrays, lines = _renamed(self.arrays, expected, self.path)
        state: dict[str, np.ndarray] = {}
        kept: list[str] = []
        for name, own in expected.items():
            saved = arrays.get(name)
            if name in fresh and (saved is None or saved.shape != own.shape):
                state[name] = own
                kept.append(name)
            elif saved is None and name.endswith(_COUNTER):
                state[name] = np.zeros_like(own)
            elif saved is None or saved.shape != own.shape:
                got = "nothing of that name" if saved is None else f"shape {saved.shape}"
                raise CheckpointError(
                    f"{self.path}: {quoted(name)}: expected shape {own.shape}, got {got}\n"
                    "its weights are those of another network, or of another number of classes"
                )
            elif saved.dtype.kind == "f" and not np.isfinite(saved).all():
                raise CheckpointError(f"{self.path}: {quoted(name)}: expected finite numbers, got NaN or infinity")
            else:
                state[name] = saved
        surplus = [name for name in arrays if name not in expected and not name.endswith(_COUNTER)]
        if surplus:
            raise CheckpointError(
                f"{self.path}: has {quoted(surplus[0])}{f' and {len(surplus) - 1} more' if surplus[1:] else ''}, which "
                "the network has not\nits weights are those of another network, such as one that normalises inside"
            )
        if kept:
            lines = (*lines, f"the last layer is new: {', '.join(kept)}")
        return state, (*self.taken, *lines)


def table_in(loaded: Any, is_array: Callable[[Any], bool], path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the table of weights in what was read from a file, and lines that say where it was.

    Args:
        loaded: What the file holds: a table of arrays, or a table that has one as in `TABLES`, and so on.
        is_array: Tells arrays of the program that wrote it.
        path: Of the file.

    Raises:
        CheckpointError: There is no such table.
    """
    lines: tuple[str, ...] = ()
    for _ in TABLES:  # a table may hold itself
        if not isinstance(loaded, Mapping):
            break
        names = [name for name in TABLES if isinstance(loaded.get(name), Mapping)]
        arrays = {name: value for name, value in loaded.items() if isinstance(name, str) and is_array(value)}
        if arrays and not names:
            others = [str(name) for name in loaded if name not in arrays]
            return arrays, (*lines, f"left out, as they are no weights: {_listed(others)}") if others else lines
        if not names:
            break
        others = [*names[1:], *arrays]
        another = f"; to take {names[1]!r}, save it alone" if names[1:] else ""
        left = f" (left out: {_listed(others)}{another})" if others else ""
        lines = (*lines, f"weights under {names[0]!r}{left}")
        loaded = loaded[names[0]]
    got = type_name(loaded)
    if isinstance(loaded, Mapping):
        got = f"a table with {_listed(map(str, loaded))}" if loaded else "an empty table"
    raise CheckpointError(
        f"{path}: expected a table of weights, alone or under one of {', '.join(TABLES)}, got {got}\n"
        "save the state alone: torch.save(model.state_dict(), path)"
    )


def unnamed(path: Path) -> CheckpointError:
    """Return the error for weights without the network that they belong to."""
    return CheckpointError(
        f"{path}: has weights, and does not say of which network\n"
        "give that, too: --model package.module:factory; in Python evaluate(model, ..., weights=path)"
    )


def _listed(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    several = [shortened(name, 60) for name in names]
    return f"{', '.join(several[:4])}{f' and {len(several) - 4} more' if several[4:] else ''}"


def _renamed(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], path: Path
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Take away parts of names that the network has not."""
    lines: list[str] = []
    for part, whose in WRAPPERS.items():
        inside = {p for name in expected for p in name.split(".")}
        if part not in inside and any(part in name.split(".") for name in arrays):
            bare = {".".join(p for p in name.split(".") if p != part): value for name, value in arrays.items()}
            if len(bare) < len(arrays):  # two copies of the network; which is meant, the file does not say
                break
            arrays = bare
            lines.append(f"{part!r}, of {whose}, was taken out of the names")
    if not expected.keys() & arrays.keys() and (prefix := _prefix(arrays, expected, path)):
        others = [name for name in arrays if not name.startswith(prefix)]
        arrays = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
        lines.append(f"{prefix!r} was taken away from the names")
        if others:
            lines.append(f"left out, as they are outside of {prefix!r}: {_listed(others)}")
    return dict(arrays), tuple(lines)


def _prefix(arrays: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], path: Path) -> str:
    """Return what stands before the most names of the network, the shortest of several; empty if nothing does.

    The file of a training may have the network twice, as ``model.`` and inside ``attacker.model.``.

    Raises:
        CheckpointError: The whole network is there under several prefixes with other weights, as of a student and a
            teacher, and none of them is ``model.``, under which Lightning has what it trains.
    """
    first = next(iter(expected), "")
    found = {name.removesuffix(first) for name in arrays if first and name.endswith(f".{first}")}
    missing = {p: sum(p + name not in arrays for name in expected) for p in found}
    whole = sorted((p for p in found if not missing[p]), key=lambda p: (len(p), p))
    if "model." in whole:
        return "model."
    for other in whole[1:]:
        if any(not np.array_equal(arrays[whole[0] + name], arrays[other + name]) for name in expected):
            raise CheckpointError(
                f"{path}: has the whole network under {whole[0]!r} and, with other weights, under {other!r}\n"
                f"save the one that is meant alone, as a table of the names that begin with {other!r}"
            )
    return min(found, key=lambda p: (missing[p], len(p), p), default="")
