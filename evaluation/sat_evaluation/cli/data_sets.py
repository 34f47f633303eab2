"""`sat data`: which data sets there are, what is known about them, and whether their files are here and whole."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from sat_core.data import DataSet
from sat_core.datasets import DATASETS, get_dataset, get_loader, split_name
from sat_core.errors import SpecError, printable, quoted
from sat_core.images import ImageSource
from sat_datasets.catalogue import CATALOGUE, FORMS, Entry, root


def print_list() -> None:
    """Print the named data sets as a table; below it those that take a path, and those of other packages."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("name", "what", "classes", "images", "download", "here"):
        table.add_column(heading, justify="right" if heading in ("classes", "images") else "left")
    for entry in CATALOGUE.values():
        images = f"{entry.train + entry.validation + entry.test:,}"
        here = "yes" if is_here(entry) else "no"
        table.add_row(entry.name, entry.title, str(entry.classes), images, entry.obtain, here)
    others = [name for name in DATASETS.names() if name not in (*CATALOGUE, *(form.split(":")[0] for form in FORMS))]
    console = Console()
    console.print(table)
    console.print()
    _print_facts([*FORMS.items(), *((name, "of another package") for name in others)])
    console.print("\n`sat data info NAME` says more; NAME:FOLDER reads one from another folder", highlight=False)


def is_here(entry: Entry, argument: str = "") -> bool:
    """Return whether all parts are in the data set's folder, or the package that contains it is installed."""
    if entry.package:
        return find_spec(entry.package) is not None
    return all((root(entry.name, argument) / part).exists() for part in entry.parts)


def print_info(name: str) -> None:
    """Print what is known about a data set, with its fingerprint if its files are here."""
    head, argument, _ = split_name(name)
    entry = CATALOGUE.get(head)
    if entry is None or is_here(entry, argument):
        _print_facts(_of_loaded(get_dataset(name), entry, argument))
    else:
        get_loader(name)  # refuses options that do not exist
        _print_facts(_of_catalogue(entry, argument))


def _of_loaded(data: DataSet, entry: Entry | None, argument: str) -> list[tuple[str, str]]:
    counts = [f"{len(data.train):,} training"]
    if data.validation is not None:
        counts.append(f"{len(data.validation):,} validation")
    counts.append(f"{len(data.test):,} test")
    h, w, c = data.image_shape
    streamed = ", decoded when asked for" if isinstance(data.train.images, ImageSource) else ", in memory"
    return [
        ("name", data.name),
        ("title", entry.title if entry else ""),
        ("classes", f"{data.classes}: {_abbreviated([printable(name, '') for name in data.class_names])}"),
        ("images", " + ".join(counts)),
        ("size", f"{h} x {w} x {c}{streamed}"),
        ("mean", _numbers(data.mean)),
        ("std", _numbers(data.std)),
        ("where", _where(entry, argument)),
        ("licence", data.licence),
        ("citation", data.citation),
        ("note", "\n".join(data.notes)),
        ("fingerprint", data.fingerprint()),
    ]


def _of_catalogue(entry: Entry, argument: str) -> list[tuple[str, str]]:
    how = f"`sat data download {entry.name}` gets it ({entry.obtain})"
    if entry.name == "imagenet200":
        how = "place train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG of ILSVRC2012 there"
    return [
        ("name", entry.name),
        ("title", entry.title),
        ("classes", str(entry.classes)),
        ("images", entry.counts),
        ("size", entry.image),
        ("mean", _numbers(entry.mean)),
        ("std", _numbers(entry.std)),
        ("where", f"not in {_where(entry, argument)}; {how}"),
        ("licence", entry.licence),
        ("citation", entry.citation),
    ]


def _where(entry: Entry | None, argument: str) -> str:
    if entry is None:
        return argument
    return f"comes {entry.obtain}" if entry.package else str(root(entry.name, argument))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _abbreviated(names: Sequence[str]) -> str:
    shown = [*names[:8], "...", names[-1]] if len(names) > 10 else names
    return ", ".join(shown)


def _print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print facts below each other; those without a text are left out."""
    table = Table.grid(padding=(0, 2))
    for fact, text in facts:
        if text:
            table.add_row(Text(fact, style="bold"), Text(printable(text)))
    Console().print(table)


def fetch(name: str, folder: str | None) -> str:
    """Download a data set; returns a line that says where it is."""
    from sat_datasets.download import download

    if ":" in name or "?" in name:
        raise SpecError(
            f"sat data download: expected a name without path and options, got {quoted(name)}; --root says where"
        )
    console = Console(stderr=True)
    place = root(name, folder or "")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)

        def show(what: str, done: int, total: int | None) -> None:
            bar.update(task, description=what, completed=done, total=total)

        fetched = download(name, place, progress=show)
    return f"{name}: {'downloaded to' if fetched else 'here already, and whole, in'} {place}"


def check(name: str) -> str:
    """Decode every image of a data set; returns a line that says so. DataError names the damaged files."""
    from sat_datasets.verify import verify

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        data = verify(name, lambda done, total: bar.update(task, completed=done, total=total))
    return f"{name}: {sum(map(len, data.parts)):,} images, all well"
