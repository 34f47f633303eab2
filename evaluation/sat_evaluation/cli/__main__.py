"""``python -m sat_evaluation.cli``: as ``sat``, which does not import from the working directory."""

import sys

from sat_evaluation.cli import main

if __name__ == "__main__":
    # `python -m` puts the working directory there: a queue.py in it would stand in for the library's
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.exit(main())
