"""What a score of difficulty can be computed from: outputs recorded during a training, or an extra pass after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeVar, final

import attrs
import numpy as np

from sat_core.chunks import CHUNK, chunks
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import DataError, SatError, brief, quoted
from sat_core.moments import Moments
from sat_core.process_group import ALONE, ProcessGroup

T = TypeVar("T")


@final
@attrs.frozen(kw_only=True)
class Recorded:
    """What a `Recorder` has collected of each example over its recordings: once per epoch that the example was in.

    Attributes:
        seen: Number of recordings, `(N,)`.
        mean: Means over the recordings, float64 `(N,)` each.
        variance: Variance of p(label) over the recordings.
        forgotten: How often the example was right in one recording and wrong in its next one.
        late_entropy: Mean entropy over the recordings of the last tenth of the epochs, rounded up; of an example that
            was in none of these epochs, the entropy of its last recording.
    """

    seen: np.ndarray
    mean: Moments
    variance: np.ndarray
    forgotten: np.ndarray
    late_entropy: np.ndarray


class Difficulty(ABC):
    """A score of difficulty: a `StreamedDifficulty` or a `MeasuredDifficulty`.

    Attributes:
        name: What it is called in a study file.
        once: Whether a single evaluation of the examples gives it, so that A can be chosen anew during a training.
    """

    name: str
    once: bool = False


class StreamedDifficulty(Difficulty):
    """A score of the outputs that are recorded while the ranking's classifier trains. It costs nothing on top."""

    def scores(self, recorded: Recorded) -> np.ndarray:
        """Return `score`, float64 `(N,)`; DataError if it raises, or gives no finite number for an example."""
        try:
            values = np.asarray(self.score(recorded))
        except SatError:
            raise
        except Exception as error:  # a plug-in may raise anything
            raise DataError(f"difficulty {quoted(self.name)}: {brief(error)}") from error
        return checked(self.name, values, len(recorded.seen))

    @abstractmethod
    def score(self, recorded: Recorded) -> np.ndarray:
        """Return the difficulty of every example, float64 `(N,)`; higher is harder."""


class MeasuredDifficulty(Difficulty):
    """A score that takes a pass over all examples with the trained classifier.

    Attributes:
        gradients: Gradient evaluations per example, which count in the cost of the ranking.
    """

    gradients: int = 0

    @abstractmethod
    def measure(self, examples: ExtraPass) -> np.ndarray:
        """Return the difficulty of every example, float64 `(N,)`; higher is harder.

        Every rank of a group makes this call, and has to take the same parts in the same order.
        """


@final
class ExtraPass:
    """All training examples and the trained classifier, for scores that need one more look at them.

    Args:
        classifier: In evaluation mode; the same on all ranks.
        data: The examples, as they are: not augmented.
        group: Ranks that share the work.
        proceed: Called before each round of parts with the share that is done; may raise Interrupted on all ranks.

    Attributes:
        classifier: As above.
        classes: Number of classes.
    """

    def __init__(
        self,
        classifier: Classifier,
        data: Examples,
        group: ProcessGroup = ALONE,
        proceed: Callable[[float], None] = lambda _share: None,
    ) -> None:
        self.classifier, self.classes = classifier, data.classes
        self._data, self._group, self._proceed = data, group, proceed

    def each(self, call: Callable[[np.ndarray, np.ndarray], T]) -> Iterator[T]:
        """Yield `call(images, labels)` for consecutive parts of the examples, in their order.

        Args:
            call: Gets images `(n, h, w, c)`, uint8 or float32 in [0, 1], and labels `(n,)`. Returns an array or a
                tuple of arrays, which all ranks get; keep them small.
        """
        # Of a fixed size: results must not depend on the memory of a device, nor on the number of ranks.
        parts, size = chunks(np.arange(len(self._data)), CHUNK), self._group.size
        for start in range(0, len(parts), size):
            self._proceed(start / len(parts))
            yield from self._group.dealt(
                parts[start : start + size], lambda part: call(self._data.images[part], self._data.labels[part])
            )


def checked(name: str, values: np.ndarray, examples: int) -> np.ndarray:
    """Return the scores of a difficulty as float64 `(N,)`; DataError if they are not one finite number per example."""
    values = np.asarray(values)
    if values.shape != (examples,) or values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        got = f"{values.dtype} {values.shape}" + " with NaN or infinity" * (values.shape == (examples,))
        raise DataError(f"difficulty {quoted(name)}: expected finite numbers ({examples},), got {got}")
    return values.astype(np.float64)
