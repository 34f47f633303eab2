"""The program of a worker process, started by `sat_datasets.workers`: it answers the tasks that come on stdin.

Its argument is the search path of the process that starts it, as JSON. The folders that are missing here come last, so
that a file of the user's with the name of a standard module is not imported in its place.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Answer until stdin ends."""
    sys.path += [entry for entry in json.loads(sys.argv[1]) if entry not in sys.path]
    import PIL.Image  # noqa: F401

    from sat_core.errors import DataError
    from sat_datasets.decode import TASKS
    from sat_datasets.messages import receive, send

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    send(answers, {})
    while (message := receive(sys.stdin.buffer)) is not None:
        about, array = message
        try:
            result = TASKS[about["task"]](array=array, **about["arguments"])
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
        os._exit(0)  # no one reads any more
