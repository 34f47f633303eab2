"""The code blocks of the documentation, and what a test does with each.

```python         is executed; all such blocks of a page are one program
```python torch   is executed with this backend only
```console        has commands after `$`; each is read by the real parser of arguments, those of `sat` are run, too
```toml           is a study, or a part of a pyproject.toml
```text           shows an output
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OF_THE_SITE = [ROOT / name for name in ("CONTRIBUTING.md", "datasets/README.md", "examples/README.md")]
"""Pages of the site that lie elsewhere in the repository."""

SMALL = {
    "training.epochs": 1,
    "training.threads": 1,  # of the whole process in TensorFlow: those of the other tests
    "ranking.epochs": 1,
    "attack.steps": 2,
    "attack.eps": 3.0,  # breaks every image at once, and the engine "fast" stops there
    "evaluation.attacks": ["apgd-ce"],
    "evaluation.selection_attacks": ["apgd-ce"],
    "evaluation.selection_epochs": [1],
    "evaluation.selection_share": 8,
    "evaluation.examples": 8,
    "evaluation.engine": "fast",
}
"""Settings with which a training of a page takes seconds."""

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
BACKENDS = {"torch", "tensorflow"}


@attrs.frozen
class Block:
    """A code block: language, the words after it, its text, and the line of the page on which the text begins."""

    language: str
    words: frozenset[str]
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Read the fenced blocks of a page, directives of Sphinx left out."""
    text = page.read_text(encoding="utf-8")
    made = []
    for match in FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        if not language.startswith("{"):
            made.append(Block(language, frozenset(words), match["code"], text[: match.start("code")].count("\n")))
    return made


def program(page: Path, backend: str) -> str:
    """Join the Python blocks of a page for `backend`, each on the lines where the page has it."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python" and not block.words & (BACKENDS - {backend}):
            lines += [""] * (block.line - len(lines))
            lines += block.code.splitlines()
    return "\n".join(lines)


def has_python(page: Path) -> bool:
    """Tell whether a page has anything to execute."""
    return any(block.language == "python" for block in blocks(page))


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command on a page, comments left out and lines that end in a backslash joined."""
    for block in blocks(page):
        if block.language == "console":
            for line in re.sub(r"\\\n\s*", "", block.code).splitlines():
                if line.startswith("$ "):
                    yield shlex.split(line[2:], comments=True)
