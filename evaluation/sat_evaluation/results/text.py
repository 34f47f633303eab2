"""Formats numbers and names for tables, plots and sentences."""

from __future__ import annotations

import re

from sat_core.errors import printable


def shown(value: object, width: int = 40) -> str:
    """Return a value of a spec, or a name from a data set, as one short line without control characters.

    >>> shown("a\\nb"), shown(["apgd-ce", "square"]), shown(0.1)
    ('a\\\\nb', 'apgd-ce + square', '0.1')
    """
    text = " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = printable(text, keep="")
    return text if len(text) <= width else text[: width - 1] + "…"


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent; one that is not 0 does not look like 0.

    >>> percent(0.815), percent(0.815, 1), percent(0.0031)
    ('82 %', '81.5 %', '0.3 %')
    """
    small = digits == 0 and 0 < share < 0.01
    return f"{100 * share:.1g} %" if small else f"{100 * share:.{digits}f} %"


def epsilon(eps: float) -> str:
    """Return ε in units of [0, 1] pixels as text: ``0.5``, or ``8/255`` where that is shorter."""
    plain, whole = f"{eps:.4g}", round(eps * 255)
    return f"{whole}/255" if len(plain) > 5 and abs(eps * 255 - whole) < 1e-6 else plain


def duration(seconds: float) -> str:
    """Return a time as ``45 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def public_name(name: str) -> str:
    """Return the name of a data set without the folders of whoever trained.

    >>> public_name("npz:/home/me/cats.npz"), public_name("hf:owner/birds?split=train"), public_name("cifar10")
    ('npz:cats.npz', 'hf:owner/birds', 'cifar10')
    """
    kind, colon, place = name.partition(":")
    place = place.partition("?")[0].rstrip("/")
    on_hub = kind == "hf" and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", place)
    return f"{kind}:{place if on_hub else place.rpartition('/')[2]}" if colon else name
