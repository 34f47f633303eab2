"""BatchNorm over the batches of all ranks, so that several devices train as one would."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow import Tensor

from sat_tensorflow.distributed import of_all_ranks, summed


def global_batch_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by the statistics of the batches of all ranks, which all have to call it; their sizes may differ.

    One exchange forward, of means, variances and numbers of values, and one of two sums backward.

    Args:
        x: `(…, c)`, at least in float32.
        weight: γ, `(c,)`.
        bias: β, `(c,)`.
        epsilon: Added to the variance.

    Returns:
        γ·x̂ + β; mean and unbiased variance of the whole batch, `(c,)`, through which no gradient goes.
    """
    axes = tuple(range(len(x.shape) - 1))

    @tf.custom_gradient
    def normalise(
        x: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[tuple[Tensor, ...], Callable[..., tuple[Tensor, ...]]]:
        own, variances = tf.nn.moments(x, axes)
        ranks = of_all_ranks(
            tf.stack([own, variances, tf.fill(own.shape, tf.cast(tf.size(x) // own.shape[0], x.dtype))])
        )
        # Chan, Golub & LeVeque 1983: no difference of large numbers, as E[x²] - E[x]² would be
        count = tf.reduce_sum(ranks[:, 2, 0])
        shares = ranks[:, 2] / count
        mean = tf.reduce_sum(shares * ranks[:, 0], 0)
        variance = tf.reduce_sum(shares * (ranks[:, 1] + (ranks[:, 0] - mean) ** 2), 0)
        scale = tf.math.rsqrt(variance + epsilon)

        def gradient(of_y: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
            normal = (x - mean) * scale
            # of this rank: with those of other ranks, which are summed with all gradients, those of γ and β
            of_weight, of_bias = tf.reduce_sum(of_y * normal, axes), tf.reduce_sum(of_y, axes)
            of_mixed, of_mean = (sums / count for sums in summed([of_weight, of_bias]))
            return (of_y - of_mean - normal * of_mixed) * (scale * weight), of_weight, of_bias

        unbiased = variance * (count / tf.maximum(count - 1, 1))
        return ((x - mean) * (scale * weight) + bias, mean, unbiased), gradient

    normalised: tuple[Tensor, Tensor, Tensor] = normalise(x, *map(tf.convert_to_tensor, (weight, bias)))
    return normalised
