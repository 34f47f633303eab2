"""Choose A by a rule of your own. Run it: python examples/own_split.py"""

import numpy as np

import sat_core as sat


def closeness_to_another_class(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Score each example: how near is the nearest image of its class, over how near is that of another class?"""
    flat = images.reshape(len(images), -1)
    squares = (flat**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0)
    np.fill_diagonal(distances, np.inf)
    same = labels[:, None] == labels
    own, other = (np.where(where, distances, np.inf).min(axis=1) for where in (same, ~same))
    return np.sqrt(own / other)  # above 1: a nearest-neighbour classifier is wrong


def main(epochs: int = 10) -> sat.TrainingResult:
    """Attack the 30 % of the digits that lie nearest to another class."""
    data = sat.get_dataset("digits")
    scores = closeness_to_another_class(data.train.images, data.train.labels)
    order = np.argsort(-scores, kind="stable")  # A is taken from its front
    result = sat.train("small-cnn", data, subset=0.3, eps=0.5, epochs=epochs, ranking=sat.Ranking(order=order))
    print(f"|A| = {result.split.size}: robust {result.robust_accuracy}, clean {result.clean_accuracy}")

    # the same A for a loop of your own, with weights of its own: see own_loop.py
    spec = sat.SubsetSpec(strategy="hardest", size=0.3)
    split = sat.make_split(spec, "balanced", data, scores=scores)
    print("weights of A and B:", [round(weight, 2) for weight in split.weights])
    return result


if __name__ == "__main__":
    main()
