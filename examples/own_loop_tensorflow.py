"""Subset adversarial training in your own TensorFlow loop. Run it: python examples/own_loop_tensorflow.py"""

from sat_core import AttackSpec, DataSet, Recorder, Split, SubsetSpec, get_backend, get_dataset, make_split
from sat_tensorflow import SubsetAdversarialStep, with_index  # before TensorFlow, see docs/own-loop.md

# isort: split
import keras
import tensorflow as tf
from keras import layers


def make_net() -> keras.Model:
    """Map images `(n, 8, 8, 1)` in [0, 1] to logits. It normalises inside, so eps is in units of [0, 1] pixels."""
    convolutions = [layers.Conv2D(k, 3, s, padding="same", activation="relu") for k, s in ((32, 1), (64, 2))]
    head = [layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Rescaling(2.5, offset=-0.75), *convolutions, *head])


def train(data: DataSet, split: Split, epochs: int) -> tuple[keras.Model, Recorder]:
    """Train in an ordinary loop. Only the two lines with `step.` are specific to SAT."""
    keras.utils.set_random_seed(0)
    examples = with_index(tf.data.Dataset.from_tensor_slices((data.train.images, data.train.labels)))
    batches = examples.shuffle(len(data.train)).batch(32)
    model, recorder = make_net(), Recorder(len(data.train), epochs)
    optimizer = keras.optimizers.Adam(2e-3)
    step = SubsetAdversarialStep(model, split, AttackSpec(norm="L2", eps=0.5, steps=7))

    @tf.function(reduce_retracing=True)
    def learn(x: tf.Tensor, y: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        x = step.mix(x, y, index)  # members of A become adversarial examples
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = step.loss(logits, y, index)  # Σ w·ℓ / Σ w over the batch
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return logits

    for epoch in range(epochs):
        for x, y, index in batches:  # index: the number of each example, added by with_index
            logits = learn(x, y, index)
            recorder.update(index.numpy(), logits.numpy(), y.numpy(), epoch)
    return model, recorder


def main(epochs: int = 3) -> dict[str, tuple[float, float]]:
    """Attack no example, a random half and the hardest half; return clean and PGD accuracy of each training."""
    data, backend, accuracies, scores = get_dataset("digits"), get_backend("tensorflow"), {}, None
    x, y, stronger = data.test.images, data.test.labels, AttackSpec(norm="L2", eps=0.5, steps=20, step_size=0.05)
    for strategy, size in (("random", 0), ("random", 0.5), ("hardest", 0.5)):
        split = make_split(SubsetSpec(strategy=strategy, size=size), "uniform", data, scores=scores)
        model, recorder = train(data, split, epochs)
        scores = scores if size else recorder.scores()["entropy"]  # from plain training, `(N,)`; higher is harder
        classifier = backend.wrap(model, classes=10, image_shape=data.image_shape)
        inputs = (x, classifier.perturb(x, y, stronger))  # backend.evaluate(classifier, x, y, ...) is AutoAttack
        clean, pgd = (float((classifier.logits(images).argmax(1) == y).mean()) for images in inputs)
        print(f"|A| = {split.size:3}, {strategy:7}: clean {clean:.1%}, PGD-20 {pgd:.1%}")
        accuracies[f"{strategy} {size}"] = clean, pgd
    return accuracies


if __name__ == "__main__":
    main()
