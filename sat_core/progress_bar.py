"""A progress bar for what runs in this process: on the terminal and in notebooks, with rich."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float, float, str], None]
"""`progress(stage, done, total, note)`."""


@contextmanager
def progress_bar(show: bool) -> Iterator[Progress]:
    """Show one bar per stage while the block runs.

    Args:
        show: False gives a function that does nothing.

    Yields:
        A function that takes the stage's name, what is done, the total, and a short note such as "epoch 3 of 30".
    """
    if not show:
        yield lambda stage, done, total, note: None
        return
    from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Bars(*columns) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: float, total: float, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, note=note)
            bars.update(tasks[stage], completed=done, total=total, note=note)

        yield update
