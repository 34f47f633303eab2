"""Compare many settings: a study from Python. Run it: python examples/sweep.py [FOLDER]

The command line does the same: sat run examples/digits.toml --out runs/sweep --set 'training.seed=[0, 1]'
"""

import sys
from pathlib import Path
from typing import Any

import sat_core as sat

HERE = Path(__file__).parent


def main(out: str = "runs/sweep", **settings: Any) -> Any:
    """Run a study file with two seeds in place of one; the same call continues after a stop."""
    study = sat.Study.load(HERE / "digits.toml").set({"training.seed": [0, 1], **settings})
    print(len(study.arms), "arms:", *(arm.name for arm in study.arms))
    results = study.run(out)  # arms run side by side, each in a process of its own
    for arm in results:
        seed = arm.spec["training"]["seed"]
        print(
            f"|A| = {arm.split.size}, seed {seed}: robust {arm.robust_accuracy}, {arm.cost.attack_gradients:,} attacks"
        )
    print(results)  # the headline
    # results.to_pandas() needs pandas, results.figure() matplotlib; `sat report FOLDER` makes a page
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])
