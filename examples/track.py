"""Watch a study in a tracker that you have. Run it: python examples/track.py mlflow runs/tracked

tensorboard, mlflow, wandb and trackio are known; docs/trackers.md says where each keeps what it is told.
The command line does the same: sat run examples/digits.toml --out runs/tracked --track mlflow
"""

import sys
from pathlib import Path
from typing import Any

import sat_core as sat

HERE = Path(__file__).parent


def main(tracker: str = "tensorboard", out: str = "runs/tracked", **settings: Any) -> Any:
    """Run three arms; settings, curves, results and files of each become a run of the tracker, as does the ranking."""
    study = sat.Study.load(HERE / "digits.toml").set({"subset.size": [0.0, 0.3, 1.0], **settings})
    results = study.run(out, track=[tracker])  # nothing that a tracker does ends an arm or changes its results
    for arm in results:
        print(f"|A| = {arm.split.size}: robust {arm.robust_accuracy}")
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])
