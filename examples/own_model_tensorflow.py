"""Your own Keras network in a study. In this folder:

sat run digits.toml --backend tensorflow --set model.name=own_model_tensorflow:make --out runs/own
sat evaluate runs/own/arms/size-0.5/checkpoint-best --backend tensorflow --data digits --model own_model_tensorflow:make
"""

import keras
from keras import layers


def make(classes: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """Make a network from normalised images `(n, h, w, c)` to logits; image_shape is `(h, w, c)`.

    Input normalisation with the mean and deviation of the training images is added automatically. The layers draw
    their weights here, after Keras was seeded with training.seed.
    """
    return keras.Sequential(
        [
            keras.Input(image_shape),
            layers.Conv2D(32, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(classes),
        ]
    )
