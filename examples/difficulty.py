"""Rank the examples by difficulty and look at both ends. Run it: python examples/difficulty.py [FOLDER]"""

import sys
from pathlib import Path

import numpy as np

import sat_core as sat

SHADES = " .:-=+*#%@"


def side_by_side(images: np.ndarray) -> str:
    """Draw grey images `(n, h, w, 1)` in [0, 1] as text."""
    levels = (images[..., 0] * (len(SHADES) - 1)).round().astype(int)
    lines = zip(*levels, strict=True)  # the first rows of all images, then the second
    return "\n".join("   ".join("".join(SHADES[level] * 2 for level in row) for row in rows) for rows in lines)


def main(out: Path | None = None, epochs: int = 10) -> sat.Ranking:
    """Train a plain network, record how uncertain it is of each example, and say which are hardest."""
    train = sat.get_dataset("digits").train
    ranking = sat.rank("small-cnn", "digits", epochs=epochs)
    entropy, order = ranking.scores["entropy"], ranking.hardest_first()  # higher is harder
    for name, numbers in (("hardest", order[:5]), ("easiest", order[-5:])):
        print(f"\n{name}: examples {numbers.tolist()} of classes {train.labels[numbers].tolist()}")
        print(side_by_side(train.images[numbers]))
    means = [entropy[train.labels == label].mean() for label in range(train.classes)]
    print("\nclasses, hardest first:", np.argsort(means)[::-1].tolist())

    agreement = ranking.agreement()  # do other scores find the same examples?
    for metric, rho in zip(agreement.metrics, agreement.rho[agreement.metrics.index("entropy")], strict=True):
        print(f"Spearman's correlation of the entropy with {metric}: {rho:.2f}")
    if out:
        ranking.save_order(out / "order.npy")  # a study takes it: --set ranking.file=order.npy
    return ranking


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
