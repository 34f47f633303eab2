"""Docstrings as Sphinx reads them: Google style, `code` in single backticks, and |A| as it is written."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

CONFIG = Config(napoleon_use_rtype=False)
CODE = re.compile(r"(``.+?``|(?<![`:\w])`[^`]+`(?![`_]))", re.DOTALL)


def to_rst(line: str) -> str:
    """Turn `code` into ``code``, and keep a bar or an asterisk outside of code from starting markup."""
    parts = CODE.split(line)
    parts[::2] = [re.sub(r"(?<!\\)([|*])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"``{part.strip('`')}``" for part in parts[1::2]]
    return "".join(parts)


def process(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Convert a docstring in place. Attributes are plain text: a colon in theirs separates no type."""
    text = to_rst("\n".join(lines)).split("\n")
    if what == "module":  # an indented block is a drawing or a program
        text = re.sub(r"(?m)^(?=\S)(.*[^:])\n\n(?= {4})", r"\1\n\n::\n\n", "\n".join(text)).split("\n")
    if what == "class":  # those of attrs take their attributes as arguments
        text = ["Args:" if line == "Attributes:" else line for line in text]
    if what not in ("attribute", "data", "property"):
        text = GoogleDocstring(text, CONFIG, app, what, name, obj, options).lines()
    lines[:] = text


def setup(app: Sphinx) -> dict[str, bool]:
    """Convert each docstring when it is read."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
