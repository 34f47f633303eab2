"""Links that lead somewhere in the repository and on the site, and pages whose text lies elsewhere in the repository.

A link to a file of the repository becomes one to its page. Where a file has no page, only the words of the link stay:
the site does not know where the repository is published.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

PAGES = {
    "README.md": "index",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "datasets/README.md": "data-sets",
    "examples/README.md": "examples",
}
"""Files outside of docs/ and the pages that stand for them."""

DOWNLOADS = ("examples/",)
"""Folders whose files can be downloaded from the site."""

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`(?!\]))", re.DOTALL | re.MULTILINE)


def rewrite(text: str, source: Path, root: Path) -> str:
    """Rewrite the links of `source`, a Markdown file below `root`, as links of a page in docs/."""

    def page_link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = Path(os.path.normpath(source.parent / target)).relative_to(root).as_posix()
        if path in PAGES:
            return f"[{words}](/{PAGES[path]}.md{anchor})"
        if path.startswith("docs/"):
            return f"[{words}](/{path.removeprefix('docs/')}{anchor})"
        if path.startswith(DOWNLOADS):
            return f"[{words}](/../{path})"
        return words if "`" in words else f"`{words}`"

    parts = CODE.split(text)
    parts[::2] = [LINK.sub(page_link, part) for part in parts[::2]]
    return "".join(parts)


def read_source(app: Sphinx, name: str, content: list[str]) -> None:
    """Put the text of the repository's file in place of a stub, and rewrite links."""
    root = Path(app.srcdir).parent
    source = Path(app.env.doc2path(name))
    if source.suffix != ".md":
        return
    for file, page in PAGES.items():
        if page == name and file != "README.md":
            app.env.note_dependency(str(root / file))
            source, content[0] = root / file, (root / file).read_text(encoding="utf-8")
    content[0] = rewrite(content[0], source, root)


def setup(app: Sphinx) -> dict[str, bool]:
    """Rewrite each page when it is read."""
    app.connect("source-read", read_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
