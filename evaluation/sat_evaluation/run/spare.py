"""A worker that has imported what it needs before it gets its unit: ``python -m sat_evaluation.run.spare``."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import suppress

from sat_core.run_folder import RunFolder
from sat_evaluation.run.fork_server import preload
from sat_evaluation.run.worker import run_request


def main() -> int:
    """Run the unit that comes through the socket on the command line, if one comes before its other end is closed.

    Returns:
        Exit status of the unit (`sat_evaluation.run.worker.main`).
    """
    folder, descriptor = sys.argv[1:]
    with socket.socket(fileno=int(descriptor)) as channel:
        # what cannot be imported is for the unit to say
        with suppress(Exception):
            preload(RunFolder(folder))
        content, descriptors, _, _ = socket.recv_fds(channel, 65536, 1)
    return run_request(json.loads(content), *descriptors) if content else 0


if __name__ == "__main__":
    sys.exit(main())
