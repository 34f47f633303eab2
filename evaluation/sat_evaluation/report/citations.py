"""BibTeX of what a run used: the method, attacks, losses, data sets, and this software."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from sat_core.version import VERSION
from sat_evaluation.results.rows import Row

METHOD = "losch2024adversarial"
AUTOATTACK = "croce2020reliable"
_ATTACKS = {
    "pgd": "madry2018towards",
    "fgsm": "goodfellow2015explaining",
    "rs-fgsm": "wong2020fast",
    "n-fgsm": "dejorge2022make",
    "free": "shafahi2019adversarial",
}
_LOSSES = {"trades": "zhang2019theoretically", "mart": "wang2020improving", "alp": "kannan2018adversarial"}
_WEIGHTS = "wu2020adversarial"
_DATA = {
    "digits": "alpaydin1998optical",
    "mnist5k": "lecun1998gradient",
    "cifar10": "krizhevsky2009learning",
    "cifar100": "krizhevsky2009learning",
    "svhn": "netzer2011reading",
    "flowers102": "nilsback2008automated",
    "caltech256": "griffin2007caltech",
    "imagenet200": "russakovsky2015imagenet",
}
_SOFTWARE = f"""@software{{satcore,
  title   = {{sat-core}},
  author  = {{{{The sat-core authors}}}},
  version = {{{VERSION}}}
}}"""


def citations(rows: Sequence[Row]) -> str:
    """Return BibTeX entries of what some arms used, each once."""
    entries = _entries()
    keys = dict.fromkeys(key for row in rows for key in _keys(row))
    return "\n\n".join([*(entries[key] for key in keys), _SOFTWARE])


def cited(kind: str, names: Iterable[str]) -> str:
    """Return the BibTeX keys for attacks, losses or data sets by their names, as ``[madry2018towards]``; may be empty.

    Args:
        kind: ``attack``, ``loss`` or ``data``.
        names: As in the settings; those that are not known have no key.
    """
    known = {"attack": _ATTACKS, "loss": _LOSSES, "data": _DATA}[kind]
    # options of a data set follow its name
    keys = dict.fromkeys(known[short] for name in names if (short := name.partition("?")[0]) in known)
    return f" [{', '.join(keys)}]" if keys else ""


def _keys(row: Row) -> Iterator[str]:
    yield METHOD
    if row.baseline is None or row.size:
        yield from _known(_ATTACKS, row.spec["attack.kind"])
        yield from _known(_LOSSES, row.spec["loss.kind"])
        yield from [_WEIGHTS] if row.spec["training.awp"] else []
    yield AUTOATTACK
    yield from _known(_DATA, row.data)
    yield from _known(_DATA, row.source)


def _known(keys: dict[str, str], name: str) -> Iterator[str]:
    if (short := name.partition("?")[0]) in keys:
        yield keys[short]


def _entries() -> dict[str, str]:
    """The entries of ``citations.bib`` by key."""
    text = (files("sat_evaluation.report") / "citations.bib").read_text(encoding="utf-8")
    return {entry[1]: entry[0] for entry in re.finditer(r"@\w+\{(\w+),.*?^\}", text, re.DOTALL | re.MULTILINE)}
