"""Steps with one option each, as a script of one's own would write them with TensorFlow and nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

EPS, STEP, STEPS, LR, MOMENTUM, DECAY = 0.5, 0.1, 7, 0.01, 0.9, 5e-4


def bare_step(
    option: str, model: Any, images: Any, labels: Any, members: int, parts: int = 1, replays: int = 1
) -> Callable[[], float]:
    """Return a function that makes a step on a batch whose first `members` images are attacked, and returns its loss.

    Args:
        option: ``plain``, ``TRADES``, ``AWP``, ``clipping``, ``EMA``, ``mixup``, ``micro-batches``, ``Free-AT``,
            ``N-FGSM``, ``restarts``, ``label smoothing`` or ``hardest``.
        model: Images in [0, 1] to logits.
        images: Floats `(n, h, w, c)`, on the device.
        labels: int64 `(n,)`.
        members: How many are attacked.
        parts: Of ``micro-batches``.
        replays: Of ``Free-AT``.
    """
    weights = [v.value for v in model.trainable_variables]
    statistics = [v.value for v in model.non_trainable_variables]
    momenta, averages = ([tf.Variable(tf.zeros_like(w)) for w in weights] for _ in range(2))
    delta = tf.Variable(tf.zeros_like(images))
    onehot = tf.one_hot(labels, model.output_shape[-1])

    def direction(x: Any, loss: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            value = tf.reduce_sum(loss(x))
        slope = tape.gradient(value, x)
        return slope / (tf.norm(tf.reshape(slope, (len(slope), -1)), axis=1)[:, None, None, None] + 1e-12)

    def attack(x: Any, targets: Any, steps: int = STEPS, size: float = STEP) -> Any:
        loss = lambda z: tf.nn.softmax_cross_entropy_with_logits(targets, model(z, training=False))  # noqa: E731
        z = x
        if option in ("TRADES", "restarts", "N-FGSM"):
            noise = tf.random.uniform(x.shape, -1, 1)
            z = tf.clip_by_value(x + noise * EPS / tf.norm(noise), 0, 1)
        if option == "TRADES":
            targets = tf.nn.softmax(model(x, training=False))
        for _ in range(steps):
            d = z + size * direction(z, loss) - x
            if option != "N-FGSM":
                length = tf.norm(tf.reshape(d, (len(d), -1)), axis=1)[:, None, None, None]
                d *= tf.minimum(1.0, EPS / (length + 1e-12))
            z = tf.clip_by_value(x + d, 0, 1)
        return z, loss(z) if option == "restarts" else None

    def mixed(x: Any, targets: Any, m: int) -> Any:
        if option == "N-FGSM":
            z = attack(x[:m], targets[:m], 1, EPS)[0]
        elif option == "restarts":
            (one, of_one), (other, of_other) = attack(x[:m], targets[:m]), attack(x[:m], targets[:m])
            z = tf.where((of_other > of_one)[:, None, None, None], other, one)
        else:
            z = attack(x[:m], targets[:m])[0]
        return tf.concat([z, x[m:]], 0)

    def gradients(z: Any, x: Any, targets: Any, m: int, own: bool = False) -> Any:
        n = len(targets)
        with tf.GradientTape() as tape:
            tape.watch(z)
            logits = model(tf.concat([z, x[:m]], 0) if option == "TRADES" else z, training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits[:n])
            if option == "TRADES":
                p, q = tf.nn.log_softmax(logits[n:]), tf.nn.log_softmax(logits[:m])
                apart = tf.reduce_sum(tf.exp(p) * (p - q), 1)
                members = tf.nn.softmax_cross_entropy_with_logits(targets[:m], logits[n:]) + 6 * apart
                losses = tf.concat([members, losses[m:]], 0)
            loss = tf.reduce_sum(losses[:m] if own else losses) / len(labels)
        return loss, *tape.gradient(loss, [weights, z])

    def awp(z: Any, x: Any, targets: Any) -> Any:
        before, kept = ([tf.identity(v) for v in which] for which in (weights, statistics))
        slopes = gradients(z, x, targets, members, own=True)[1]
        for v, value in zip(statistics, kept, strict=True):
            v.assign(value)
        for w, slope in zip(weights, slopes, strict=True):
            if len(w.shape) > 1:
                w.assign_add(0.01 * tf.norm(w) / tf.norm(slope) * slope)
        made = gradients(z, x, targets, members)
        for w, value in zip(weights, before, strict=True):
            w.assign(value)
        return made

    def update(slopes: Any) -> None:
        if option == "clipping":
            slopes, _ = tf.clip_by_global_norm(slopes, 0.5)
        for w, v, average, slope in zip(weights, momenta, averages, slopes, strict=True):
            v.assign(MOMENTUM * v + slope + DECAY * w)
            w.assign_sub(LR * v)
            if option == "EMA":
                average.assign(0.9 * average + 0.1 * w)

    def step() -> Any:
        x, targets = images, onehot
        if option == "label smoothing":
            targets = 0.9 * targets + 0.1 / targets.shape[1]
        if option == "mixup":
            order = tf.random.shuffle(tf.range(len(x)))
            x, targets = (0.7 * t + 0.3 * tf.gather(t, order) for t in (x, targets))
        if option == "hardest":
            p = tf.nn.softmax(model(x, training=False))
            margin = tf.reduce_sum(p * onehot, 1) - tf.reduce_max(p * (1 - onehot), 1)
            x, targets = (tf.gather(t, tf.argsort(margin)) for t in (x, targets))
        z = mixed(x, targets, members)
        loss, slopes, _ = awp(z, x, targets) if option == "AWP" else gradients(z, x, targets, members)
        update(slopes)
        return loss

    def in_parts() -> Any:
        total, sums = 0.0, [tf.zeros_like(w) for w in weights]
        for k in range(parts):
            loss, slopes = part(images[k::parts], onehot[k::parts])
            total, sums = total + loss, [a + b for a, b in zip(sums, slopes, strict=True)]
        apply(sums)
        return total

    def replayed() -> Any:
        x = images
        with_delta = tf.concat([tf.clip_by_value(x[:members] + delta[:members], 0, 1), x[members:]], 0)
        loss, slopes, slope = gradients(with_delta, x, onehot, members)
        d = delta + EPS * slope / (tf.norm(tf.reshape(slope, (len(slope), -1)), axis=1)[:, None, None, None] + 1e-12)
        length = tf.norm(tf.reshape(d, (len(d), -1)), axis=1)[:, None, None, None]
        delta.assign(tf.clip_by_value(x + d * tf.minimum(1.0, EPS / (length + 1e-12)), 0, 1) - x)
        update(slopes)
        return loss

    compiled, replay, apply = tf.function(step), tf.function(replayed), tf.function(update)
    part = tf.function(lambda x, t: gradients(mixed(x, t, members // parts), x, t, members // parts)[:2])
    if option == "Free-AT":
        return lambda: float([replay() for _ in range(replays)][-1])
    return lambda: float((in_parts if option == "micro-batches" else compiled)())
