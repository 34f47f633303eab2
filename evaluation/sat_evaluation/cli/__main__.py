"""``python -m sat_evaluation.cli``: as ``sat``, which does not import from the working directory."""

import os
import sys

from sat_evaluation.cli import main
from sat_evaluation.run.ranks import is_rank

if __name__ == "__main__":
    # `python -m` puts the working directory there: a queue.py in it would stand in for the library's
    if not sys.flags.safe_path:
        del sys.path[0]
    status = main()
    if status and is_rank():
        # what libraries do at exit may wait for ranks that have gone, or end this process by a signal
        os._exit(status)
    sys.exit(status)
