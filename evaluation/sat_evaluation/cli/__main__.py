"""``python -m sat_evaluation.cli``."""

import sys

from sat_evaluation.cli import main

if __name__ == "__main__":
    sys.exit(main())
