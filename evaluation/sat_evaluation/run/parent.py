"""How a process ends with the one that started it, and hears from it that it is to stop."""

from __future__ import annotations

import os
import signal
import threading
import time

from sat_core.errors import EXIT_CONTINUE

PARENT = "SAT_PARENT"
"""Environment variable with the number of the parent: os.getppid() may already return the next one."""
STOP_FILE = "SAT_STOP_FILE"
"""Environment variable with a file that is made when this process is to stop; of ranks only, see `launch`."""
_PAUSE = 0.2
"""Seconds between two looks."""


def end_with_parent() -> None:
    """End this process when its parent ends, so that killing a study ends its workers; what they saved is whole.

    A rank also gets SIGTERM, from itself, when the process that has started all ranks was told to stop.
    """
    # The parent says who it is: if it has ended already, os.getppid() returns another process.
    parent = int(os.environ.get(PARENT) or os.getppid())
    stop_file = os.environ.get(STOP_FILE, "")

    def watch() -> None:
        told = not stop_file
        while os.getppid() == parent:
            if not told and os.path.exists(stop_file):
                told = True
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_PAUSE)
        os._exit(EXIT_CONTINUE)

    threading.Thread(target=watch, daemon=True).start()
