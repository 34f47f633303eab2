"""The pages fetch nothing from other hosts: no script, no style, no font, no image."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

FETCHES = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["'](?:https?:)?//[^"']*"""
    r"""|(?:url\(|@import)\s*["']?(?:https?:)?//[^"')]*"""
)


def remote_files(folder: Path) -> list[str]:
    """List what the pages and styles in `folder` would fetch from elsewhere."""
    pages = [path for suffix in ("html", "css") for path in sorted(folder.rglob(f"*.{suffix}"))]
    return [f"{path.name}: {match[0]}" for path in pages for match in FETCHES.finditer(path.read_text("utf-8"))]


def check(app: Sphinx, error: Exception | None) -> None:
    """Fail the build if a page fetches anything."""
    found = remote_files(Path(app.outdir)) if error is None else []
    if found:
        raise ExtensionError(f"pages fetch from the network: {'; '.join(found[:5])}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Check when all pages are written."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
