"""`sat evaluate --devices N`: the command starts itself as N ranks, and this is what each of them does besides."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sat_core.process_group import ProcessGroup

Work = Callable[["ProcessGroup", Callable[[], bool]], None]
"""work(group, stop): evaluates as a rank of the group until `stop` returns True; rank 0 prints."""


def on_devices(words: Sequence[str], devices: int) -> int:
    """Run the command on so many devices of this machine; returns its exit status.

    Args:
        words: Its arguments.
        devices: Number of ranks.

    Raises:
        SatError: It failed, for this reason.
        Interrupted: It was stopped.
    """
    from sat_core.errors import EXIT_CONTINUE, Interrupted, SatError
    from sat_core.training import STOPPED
    from sat_evaluation.run.launch import launch_ranks

    end = launch_ranks(["-P", "-m", "sat_evaluation.cli", *words], devices)
    if end.status == EXIT_CONTINUE:
        raise Interrupted(STOPPED)
    if end.reason:
        raise SatError(end.reason)
    return end.status


def as_rank(device: str, work: Work) -> int:
    """Do the work as one of the ranks that were started; returns the exit status of this one.

    What ends it is told to whoever has started the ranks. Only where that was `torchrun` rank 0 raises it, too.

    Args:
        device: What it computes on.
        work: See `Work`.
    """
    from sat_core.errors import EXIT_CONTINUE, Interrupted, SatError, brief, printable
    from sat_evaluation.attack.rounds import EndedByOther
    from sat_evaluation.run.cards import take_card
    from sat_evaluation.run.executors.processes import EXIT_PEER, WORKER_STOPS
    from sat_evaluation.run.parent import STOP_FILE, end_with_parent
    from sat_evaluation.run.ranks import PeerLost, explain_end, join_group

    stop, ours = threading.Event(), STOP_FILE in os.environ
    group: ProcessGroup | None = None
    end_with_parent()
    # Ctrl-C reaches the process that has started the ranks as well, which tells them to stop
    signal.signal(signal.SIGINT, lambda *_: None if ours else stop.set())
    try:
        if device != "cpu":
            take_card()
        # on the host, whatever computes: flags are all that goes through it
        group = join_group("", "cpu")
        for number in WORKER_STOPS:
            signal.signal(number, lambda *_: stop.set())
        work(group, stop.is_set)
        return 0
    except EndedByOther:
        explain_end("another rank has ended", echo=True)
        return EXIT_PEER
    except Interrupted:
        if not ours and group is not None and group.rank == 0:
            raise
        return EXIT_CONTINUE
    except Exception as error:
        first = os.environ.get("RANK") == "0"
        if not isinstance(error, SatError):
            traceback.print_exc()
        # that of rank 0 is seen first, as the others may have the same
        explain_end(str(error) if isinstance(error, SatError) else printable(brief(error)), echo=not first)
        if first and not ours and isinstance(error, SatError):
            raise
        return EXIT_PEER if isinstance(error, PeerLost) else 2 if isinstance(error, SatError) else 1
