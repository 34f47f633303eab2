"""A report as a browser parses it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sat_core.files import read_json


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, all text, and the code of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text, self.code = "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while tag in self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.code += data
        elif "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def files(self) -> dict[str, str]:
        """What the links save, by the names of the files."""
        links = {str(link["download"]): str(link["href"]) for link in self.all("a") if "download" in link}
        return {name: unquote(address.partition(",")[2]) for name, address in links.items()}

    def words(self) -> str:
        return " ".join(self.text.split())


def results(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob("arms/*/results.json"))]


def arm(folder: Path) -> Path:
    return sorted(folder.glob("arms/*"))[1]


def results_without(folder: Path, broken: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob("arms/*/results.json")) if path.parent != broken]
