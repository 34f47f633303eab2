"""The model as attacks see it, and the state of torch in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, final

import numpy as np

from sat_core.classifier import Classifier

if TYPE_CHECKING:
    import torch


@final
class Model:
    """A classifier as the attacks call it: a function of tensors that tells `on_query` how many images it gets.

    Args:
        classifier: the original, which makes the final check of what is misclassified in any case; see `exact`.
        engine: for all but "package", the attacks call `Classifier.attacked_torch_module`, which may be faster, in its
            place.
    """

    def __init__(self, classifier: Classifier, engine: str = "package") -> None:
        import torch

        self.module: torch.nn.Module = classifier.as_torch_module()
        self.attacked: Callable[[torch.Tensor], torch.Tensor] = self.module
        if engine != "package":
            self.attacked = classifier.attacked_torch_module()
        self.device = torch.device(classifier.torch_device)
        if engine == "fast" and self.device.type == "cuda" and classifier.capturable:
            # the package's attacks may go backwards twice through the same logits, which a replay cannot
            from sat_evaluation.attack.fast.captured import Captured, Graphs

            self.attacked = Captured(self.attacked, classifier.images_at_once(), Graphs(self.device))
        self.images_at_once = classifier.images_at_once
        self.out_of_memory = (*classifier.out_of_memory, torch.OutOfMemoryError)
        self.on_query: Callable[[int], None] = lambda images: None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.on_query(len(x))
        logits: torch.Tensor = self.attacked(x)
        return logits

    def release(self) -> None:
        """Free the memory of what is made anew when it is needed."""
        from sat_evaluation.attack.fast.captured import Captured

        if isinstance(self.attacked, Captured):
            self.attacked.release()

    def exact(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classifier itself."""
        self.on_query(len(x))
        logits: torch.Tensor = self.module(x)
        return logits

    def tensors(self, images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy float32 images `(n, h, w, c)` to contiguous `(n, c, h, w)` on the device, and labels, too."""
        import torch

        x, y = images.transpose(0, 3, 1, 2).copy(), labels.copy()
        return torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, evaluation mode and no gradients for weights; afterwards everything is as it was.

        The modules of a classifier run in evaluation mode anyway, but layers that are recomputed in the backward pass
        (activation checkpointing) do so outside of their call. The package's FAB calls `backward`, which would add to
        the gradients of weights.
        """
        training = [layer for layer in self.module.modules() if layer.training]
        learning = [p for p in self.module.parameters() if p.requires_grad]
        try:
            for layer in training:
                layer.training = False
            for p in learning:
                p.requires_grad_(False)
            yield
        finally:
            for layer in training:
                layer.training = True
            for p in learning:
                p.requires_grad_(True)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, no gradients, float32 on the CPU by default, and torch's generators seeded as in the package.

    Afterwards all of it is as it was.
    """
    import torch

    cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    dtype, elsewhere = torch.get_default_dtype(), torch.get_default_device().type != "cpu"
    try:
        torch.set_default_dtype(torch.float32)
        with (
            torch.no_grad(),
            torch.device("cpu") if elsewhere else nullcontext(),
            # no GPU's generator while nobody has used CUDA: reading it would start CUDA
            torch.random.fork_rng(range(torch.cuda.device_count() * cuda), device_type="cuda"),
        ):
            # attacks seed themselves; this one is for models that draw, whose noise a resumed evaluation has to repeat
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(dtype)
        if not cuda:  # torch keeps the last seed for the day when CUDA is used
            torch.cuda.manual_seed_all(torch.initial_seed())
