"""Worker processes that decode images a few batches ahead: PyTorch's DataLoader, asked for whole batches in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, final

import numpy as np

from sat_core.errors import DataError, NotInstalledError, SpecError
from sat_core.images import Request

AHEAD = 2
"""Batches that each worker process may be ahead."""
Read = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""A request to the images that it asks for; it goes to the workers by pickle."""


def decoded(read: Read, requests: Iterable[Request]) -> Iterator[np.ndarray]:
    """What `read` makes of each request, in that order, by as many processes as `count` says.

    They are forked from a server that has imported PyTorch, not from this process, whose threads a fork would not
    survive. Raises NotInstalledError without PyTorch, and the DataError of the first request that has one.
    """
    try:
        import torch
        from torch.utils.data import DataLoader
    except ImportError as error:
        raise NotInstalledError(
            "images that do not fit in memory are decoded by PyTorch's DataLoader: pip install 'sat-core[data]'"
        ) from error
    options: dict[str, Any] = {"num_workers": count()}
    if options["num_workers"]:
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(["torch", __name__])
        options |= {"multiprocessing_context": server, "prefetch_factor": AHEAD, "worker_init_fn": _ignore_signals}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more processes than cores, if asked for
        loader: DataLoader[Any] = DataLoader(
            _Tasks(read),  # type: ignore[arg-type]
            batch_size=None,
            sampler=requests,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # its own: the user's is left alone
            **options,
        )
        others = {*multiprocessing.active_children()}
        batches = iter(loader)
    ours = {*multiprocessing.active_children()} - others if options["num_workers"] else set()
    weakref.finalize(batches, _end, ours)  # or the program would wait for them at its end
    try:
        for batch in batches:
            if isinstance(batch, str):
                raise DataError(batch)
            yield batch.numpy()
    except (RuntimeError, OSError, EOFError) as error:
        if not wait([process.sentinel for process in ours], timeout=5):  # none of them has ended
            raise
        raise DataError(
            "a process that decodes images was killed, most likely for want of memory\n"
            "set SAT_WORKERS to fewer; the same command goes on where it stopped"
        ) from error


def count() -> int:
    """How many processes decode: SAT_WORKERS, by default one per core that is ours, at most 8; 0 is this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("SAT_WORKERS") or str(min(8, cores))
    if not asked.isdecimal():
        raise SpecError(f"SAT_WORKERS: expected a count of processes that decode images, got {asked!r}")
    return int(asked)


@final
class _Tasks:
    """What a worker does with a request. An error comes back as its text, without the worker's traceback."""

    def __init__(self, read: Read) -> None:
        self.read = read

    def __getitem__(self, request: Request) -> Any:
        import torch

        try:
            return torch.from_numpy(self.read(*request))
        except DataError as error:
            return str(error)


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_signals(_worker: int) -> None:
    """A stop is the business of the process that trains: it saves, and the workers end with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _end(processes: set[BaseProcess]) -> None:
    """Of workers that no one reads from any more; they listen to no other signal."""
    for process in processes:
        if process.is_alive():
            process.kill()
