"""Train your own Keras network robustly on your own arrays. Run it: python examples/train_tensorflow.py"""

import numpy as np

import sat_core as sat
import sat_tensorflow  # noqa: F401  # before TensorFlow, see docs/own-loop.md

# isort: split
import keras
from keras import layers


def make_net() -> keras.Model:
    """Map images `(n, 8, 8, 1)` in [0, 1] to logits. It normalises inside, so eps is in units of [0, 1] pixels."""
    convolutions = (layers.Conv2D(32, 3, padding="same"), layers.BatchNormalization(), layers.ReLU())
    head = (layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(10))
    return keras.Sequential([keras.Input((8, 8, 1)), layers.BatchNormalization(), *convolutions, *head])


def load_arrays() -> dict[str, np.ndarray]:
    """Return images `(n, h, w, c)`, uint8 or float32 in [0, 1], and labels `(n,)`, integers from 0: put yours here."""
    digits = sat.get_dataset("digits")
    return {
        "x_train": digits.train.images,
        "y_train": digits.train.labels,
        "x_test": digits.test.images,  # a part of them picks the epoch, the rest gives the accuracies
        "y_test": digits.test.labels,
    }


def main(epochs: int = 10, out: str | None = None) -> sat.TrainingResult:
    """Attack the hardest 30 % of the examples; with `out`, the same call continues there after a stop."""
    data = load_arrays()
    result = sat.train(make_net(), data, subset=0.3, eps=0.5, norm="L2", epochs=epochs, out=out)
    print("robust:", result.robust_accuracy)  # AutoAttack: value, number of images, 95 % interval
    print("clean:", result.clean_accuracy)

    # result.classifier.native is the keras.Model, with the weights of the epoch that was picked
    adversarial = result.classifier.perturb(data["x_test"], data["y_test"])
    right = result.classifier.logits(adversarial).argmax(axis=1) == data["y_test"]
    print(f"under PGD-10: {right.mean():.1%}")
    return result


if __name__ == "__main__":
    main()
