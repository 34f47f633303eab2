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
    """The named data sets in a table; below it the forms that take a path, and what other packages add."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("name", "what", "classes", "images", "download", "here"):
        table.add_column(heading, justify="right" if heading in ("classes", "images") else "left")
    for known in CATALOGUE.values():
        images = f"{known.train + known.validation + known.test:,}"
        here = "yes" if is_here(known) else "no"
        table.add_row(known.name, known.title, str(known.classes), images, known.obtain, here)
    others = [name for name in DATASETS.names() if name not in (*CATALOGUE, *(form.split(":")[0] for form in FORMS))]
    console = Console()
    console.print(table)
    console.print()
    _print_facts([*FORMS.items(), *((name, "of another package") for name in others)])
    console.print("\n`sat data info NAME` says more; NAME:FOLDER reads one from another folder", highlight=False)


def is_here(known: Entry, argument: str = "") -> bool:
    """Whether all parts are in the data set's folder, or the package that brings it along is installed."""
    if known.package:
        return find_spec(known.package) is not None
    return all((root(known.name, argument) / part).exists() for part in known.parts)


def print_info(name: str) -> None:
    """What is known about the data set of that full name; with its fingerprint if its files are here."""
    head, argument, _ = split_name(name)
    known = CATALOGUE.get(head)
    if known is None or is_here(known, argument):
        _print_facts(_of_loaded(get_dataset(name), known, argument))
    else:
        get_loader(name)  # refuses options that do not exist
        _print_facts(_of_catalogue(known, argument))


def _of_loaded(data: DataSet, known: Entry | None, argument: str) -> list[tuple[str, str]]:
    counts = [f"{len(data.train):,} training"]
    if data.validation is not None:
        counts.append(f"{len(data.validation):,} validation")
    counts.append(f"{len(data.test):,} test")
    h, w, c = data.image_shape
    streamed = ", decoded when asked for" if isinstance(data.train.images, ImageSource) else ", in memory"
    return [
        ("name", data.name),
        ("title", known.title if known else ""),
        ("classes", f"{data.classes}: {_abbreviated([printable(name, '') for name in data.class_names])}"),
        ("images", " + ".join(counts)),
        ("size", f"{h} x {w} x {c}{streamed}"),
        ("mean", _numbers(data.mean)),
        ("std", _numbers(data.std)),
        ("where", _where(known, argument)),
        ("licence", data.licence),
        ("citation", data.citation),
        ("note", "\n".join(data.notes)),
        ("fingerprint", data.fingerprint()),
    ]


def _of_catalogue(known: Entry, argument: str) -> list[tuple[str, str]]:
    how = f"`sat data download {known.name}` gets it ({known.obtain})"
    if known.name == "imagenet200":
        how = "place train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG of ILSVRC2012 there"
    return [
        ("name", known.name),
        ("title", known.title),
        ("classes", str(known.classes)),
        ("images", known.counts),
        ("size", known.image),
        ("mean", _numbers(known.mean)),
        ("std", _numbers(known.std)),
        ("where", f"not in {_where(known, argument)}; {how}"),
        ("licence", known.licence),
        ("citation", known.citation),
    ]


def _where(known: Entry | None, argument: str) -> str:
    if known is None:
        return argument
    return f"comes {known.obtain}" if known.package else str(root(known.name, argument))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _abbreviated(names: Sequence[str]) -> str:
    shown = [*names[:8], "...", names[-1]] if len(names) > 10 else names
    return ", ".join(shown)


def _print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Names of facts on the left, and what is said of each; those of which nothing is known are left out."""
    table = Table.grid(padding=(0, 2))
    for fact, said in facts:
        if said:
            table.add_row(Text(fact, style="bold"), Text(printable(said)))
    Console().print(table)


def fetch(name: str, folder: str | None) -> str:
    """Download a data set; one line that says where it is."""
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

        def tell(what: str, done: int, total: int | None) -> None:
            bar.update(task, description=what, completed=done, total=total)

        fetched = download(name, place, progress=tell)
    return f"{name}: {'downloaded to' if fetched else 'here already, and whole, in'} {place}"


def check(name: str) -> str:
    """Look at every image of a data set; one line that says all is well. A DataError names the broken files."""
    from sat_datasets.verify import verify

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        data = verify(name, lambda done, total: bar.update(task, completed=done, total=total))
    return f"{name}: {sum(map(len, data.parts)):,} images, all well"
