"""The program of a worker process, which `sat_datasets.workers` starts: it reads tasks on stdin and writes the results.

Its argument is the `sys.path` of its parent, as JSON. Entries that this process lacks go to the end of its own path, so
that a user's `queue.py` beside their script is not imported in place of the standard module.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Do tasks until stdin ends."""
    sys.path += [entry for entry in json.loads(sys.argv[1]) if entry not in sys.path]
    # Before the first message, so that the parent learns at once that Pillow cannot be imported.
    import PIL.Image  # noqa: F401

    from sat_core.errors import DataError
    from sat_datasets.decode import TASKS
    from sat_datasets.messages import receive, send

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints goes to stderr, not among the results
    send(answers, {})  # ready
    while (message := receive(sys.stdin.buffer)) is not None:
        header, array = message
        try:
            result = TASKS[header["task"]](array=array, **header["arguments"])
        except DataError as error:
            send(answers, {"error": str(error)})
        except Exception as error:
            send(answers, {"error": f"images cannot be decoded ({type(error).__name__}: {error})"})
        else:
            if hasattr(result, "dtype"):
                send(answers, {}, result)
            else:
                send(answers, {"result": result})


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # the parent has gone; the interpreter's own shutdown would try to flush the pipe again
