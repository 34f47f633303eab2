"""Checks of a user's network: a few images are sent through it when it is wrapped.

Most faults of a wrapped network (probabilities in place of logits, pixels scaled down twice, a broken gradient) raise
no error later; they only make it look more robust than it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, final

import attrs
import numpy as np

from sat_core.errors import SatError, SpecError, brief, type_name

if TYPE_CHECKING:
    from sat_core.classifier import Classifier

FIRST_LAYERS = 4
"""Number of layers with weights that a backend looks at; the very first may take something else than images."""
_CONTRAST = 1 / 4
"""Least difference between black and white at the input of the first layer, in a network for pixels in [0, 1]. Of one
that divides by 255 itself, it is 1/255 divided by the deviation."""
_FAR = 1e4
"""Factor by which images are moved away from grey so that they saturate a sigmoid."""
BATCH_DEPENDENT = (
    "batch-dependent model: the logits of an image change with the others in its batch, as by BatchNorm without "
    "running statistics, and so accuracies change with the batch size"
)


@final
class OtherClasses(SpecError):
    """A network has another number of logits than expected.

    Attributes:
        classes: How many it has; None if its output is no `(n, classes)`.
    """

    def __init__(self, message: str, classes: int | None = None) -> None:
        super().__init__(message)
        self.classes = classes


@final
@attrs.frozen(eq=False)
class Look:
    """What a network did with n images, in evaluation mode.

    Args:
        output: what it returned.
        values: the same as float32; None if that is not one tensor of real numbers.
        entered: names and inputs of the first layers with weights, in the order of their calls, float32 with the images
            along the first axis.
        gradient: whether the output has one with respect to the images, even if that is zero.
    """

    output: Any
    values: np.ndarray | None
    entered: tuple[tuple[str, np.ndarray], ...]
    gradient: bool


def check_network(look: Callable[[np.ndarray], Look], classifier: Classifier) -> None:
    """Check that the network of `classifier` gives logits for images in [0, 1], with gradients.

    Log-probabilities are logits: no loss here changes if a number is added to all logits of an image. Warns of logits
    that depend on the other images in the batch.

    Args:
        look: sends float32 images `(n, h, w, c)` through the network, after the classifier's normalisation, and changes
            nothing.
        classifier: with the number of classes and the shape of images that are expected.

    Raises:
        SpecError: says what the network returns instead, and what to change.
    """
    images = _probe_images(classifier.image_shape)
    # An image alone shows networks that squeeze the batch's axis away, and those whose logits depend on the batch.
    several, one = (_look(look, part) for part in (images, images[-1:]))
    logits, alone = (_logits(seen, n, classifier) for seen, n in ((several, len(images)), (one, 1)))
    _check_range(look, images, logits)
    if not one.gradient:
        raise SpecError(
            "model: expected logits with a gradient with respect to the images, got none\n"
            "attacks follow it: leave out detach, no_grad, rounding, and what leaves the framework"
        )
    _check_contrast(several.entered, classifier)
    if apart(logits[-1:], alone):
        # a network that draws random numbers differs from call to call, too: that is not this warning's business
        others, repeated = (_look(look, part).values for part in (images[[-1] * len(images)], images))
        if (
            others is not None
            and repeated is not None
            and apart(logits[-1:], others[-1:])
            and not apart(logits, repeated)
        ):
            warnings.warn(BATCH_DEPENDENT, stacklevel=4)  # who called `wrap`, which called `wrap_for`


def are_probabilities(outputs: np.ndarray) -> bool:
    """Tell whether all rows `(n, k)` are non-negative with sum 1, up to the rounding of half precision."""
    return bool(outputs.min() >= 0 and np.abs(outputs.sum(axis=1) - 1).max() < 5e-3)


def are_scores(outputs: np.ndarray) -> bool:
    """Tell whether all outputs are in [0, 1] and reach towards both ends, as those of a sigmoid do."""
    return bool(0 <= outputs.min() < 0.05 and 0.95 < outputs.max() <= 1)


def _probe_images(image_shape: tuple[int, int, int]) -> np.ndarray:
    """Black, white, and two of noise."""
    noise = np.random.default_rng(0).random((2, *image_shape), np.float32)
    return np.concatenate([np.zeros_like(noise[:1]), np.ones_like(noise[:1]), noise])


def _look(look: Callable[[np.ndarray], Look], images: np.ndarray) -> Look:
    try:
        return look(images)
    except SatError:
        raise
    except Exception as error:  # the user's layers may raise anything
        raise SpecError(
            f"model: does not take images of shape {images.shape} ({brief(error)})\n"
            "images of another size are scaled inside it by `scaling`, for a network of a library by ?size=N"
        ) from error


def _logits(seen: Look, n: int, classifier: Classifier) -> np.ndarray:
    values, classes = seen.values, classifier.classes
    if values is None:
        raise SpecError(
            f"model: expected one tensor of logits (n, {classes}), got {_described(seen.output)}"
            f"\n{_where(seen.output, classifier.inputs.output)}"
        )
    if values.shape != (n, classes):
        rows = values.ndim == 2 and len(values) == n
        raise OtherClasses(
            f"model: expected logits of shape ({n}, {classes}) for {n} images of {classes} classes, got {values.shape}"
            f"\n{_remedy(values.shape, n, classes)}",
            values.shape[1] if rows else None,
        )
    if not np.isfinite(values).all():
        raise SpecError(
            "model: expected finite logits for images in [0, 1], got NaN or infinity\n"
            "its weights are not finite, or it overflows in its precision"
        )
    return values


def _remedy(shape: tuple[int, ...], n: int, classes: int) -> str:
    if shape in ((n,), (n, 1)):
        return "one logit is for two classes: pass classes=2, or give it a last layer for more"
    if shape[2:] and shape[:2] == (n, classes) and set(shape[2:]) == {1}:
        return "flatten them: the last axes are of length 1"
    if n == 1 and shape == (classes,):
        return "it drops the axis of the batch for one image: squeeze only the axes that are meant"
    if len(shape) == 2 and shape[0] == n:
        return f"pass classes={shape[1]}, or give it a last layer for {classes} classes"
    return "one row of logits for each image"


def _described(output: object) -> str:
    if isinstance(output, Mapping):
        return f"{type_name(output)} with {', '.join(map(repr, output)) or 'nothing'}"
    if isinstance(output, list | tuple):
        return f"{type_name(output)} of {len(output)}"
    return f"{type_name(output)} of {output.dtype}" if hasattr(output, "dtype") else type_name(output)


def _where(output: object, key: str) -> str:
    """Say what would name the logits, in what is called `key` already."""
    parts = (
        [*output] if isinstance(output, Mapping) else [*range(len(output))] if isinstance(output, list | tuple) else []
    )
    if not parts:
        return "wrap a module that returns the logits"
    part = f"{key}.{parts[0]}" if key else parts[0]
    return f'say which part they are, as output="{part}" (studies: model.output, command line: --output)'


def _check_range(look: Callable[[np.ndarray], Look], images: np.ndarray, outputs: np.ndarray) -> None:
    kind = "probabilities" if are_probabilities(outputs) else ""
    # Logits may happen to lie in [0, 1], too. A sigmoid is told by images far outside of [0, 1]: its outputs stay in
    # there, and reach towards both ends.
    if not kind and outputs.min() >= 0 and outputs.max() <= 1:
        try:
            far = look((images - np.float32(0.5)) * np.float32(_FAR)).values
        except Exception:  # a network may refuse what is not in [0, 1]; then nothing is known
            far = None
        kind = "scores in [0, 1], as of a sigmoid" if far is not None and are_scores(far) else ""
    if kind:
        raise SpecError(
            f"model: expected logits, got {kind}\n"
            "leave out the softmax or sigmoid at its end: losses and attacks apply their own"
        )


def _check_contrast(entered: tuple[tuple[str, np.ndarray], ...], classifier: Classifier) -> None:
    """The first layer of a network that divides by 255 itself sees hardly any contrast in images in [0, 1]."""
    contrasts = ((name, float(np.ptp(values, axis=0).max(initial=0))) for name, values in entered)
    # A layer with the same input for every image, such as one of positions, says nothing of pixels.
    name, contrast = next(((name, contrast) for name, contrast in contrasts if contrast > 0), ("", 1.0))
    if contrast < _CONTRAST:
        c = classifier.inputs.network_shape[2]
        zeros, ones = (f"({', '.join([number] * c)}{',' * (c == 1)})" for number in ("0", "1/255"))
        raise SpecError(
            f"model: expected a network for pixels in [0, 1]; between black and white the input of its layer {name!r} "
            f"differs by {contrast:.2g} only\nif it scales 0..255 down itself, leave that step out or give it 0..255: "
            f"mean={zeros}, std={ones}\nmean and std are in units of [0, 1] pixels"
        )


def apart(logits: np.ndarray, others: np.ndarray) -> bool:
    """Tell whether logits differ by more than rounding in another order of sums, also that of half precision."""
    return bool(np.abs(logits - others).max() > 0.02 * np.abs(logits).max() + 1e-6)
