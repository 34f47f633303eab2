"""Subset adversarial training with keras.Model.fit, on the digits. Run it: python examples/keras_fit.py"""

from sat_core import AttackSpec, SubsetSpec, get_backend, get_dataset, make_split
from sat_tensorflow import SubsetAdversarialModel, with_index  # before TensorFlow, see docs/own-loop.md

# isort: split
import keras
import tensorflow as tf
from keras import layers


def make_net() -> keras.Model:
    """Map images `(n, 8, 8, 1)` in [0, 1] to logits. It normalises inside, so eps is in units of [0, 1] pixels."""
    rows = (
        layers.Rescaling(1 / 0.4, offset=-0.3 / 0.4),
        layers.Conv2D(32, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(64, 3, 2, padding="same", activation="relu"),
    )
    return keras.Sequential([keras.Input((8, 8, 1)), *rows, layers.Flatten(), layers.Dense(10)])


def main(epochs: int = 3) -> tuple[dict[str, list[float]], float]:
    """Train with a random half in A; return what fit recorded, and the accuracy under PGD."""
    keras.utils.set_random_seed(0)
    data = get_dataset("digits")
    split = make_split(SubsetSpec(strategy="random", size=0.5), "uniform", data)
    examples = with_index(tf.data.Dataset.from_tensor_slices((data.train.images, data.train.labels)))
    batches = examples.shuffle(len(data.train)).batch(32)  # each example keeps the number that with_index gave it

    net = make_net()
    model = SubsetAdversarialModel(net, split, AttackSpec(norm="L2", eps=0.5, steps=7))
    model.compile(keras.optimizers.Adam(2e-3), metrics=["accuracy"])
    x, y = data.test.images, data.test.labels
    history = model.fit(batches, epochs=epochs, validation_data=(x, y), verbose=2).history

    classifier = get_backend("tensorflow").wrap(net, classes=10, image_shape=data.image_shape)
    adversarial = classifier.perturb(x, y, AttackSpec(norm="L2", eps=0.5, steps=20, step_size=0.05))
    robust = float((classifier.logits(adversarial).argmax(1) == y).mean())
    print(f"|A| = {split.size}: clean {history['val_accuracy'][-1]:.1%}, PGD-20 {robust:.1%}")
    return history, robust


if __name__ == "__main__":
    main()
