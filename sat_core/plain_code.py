"""What a backend offers for networks that leave: code that needs nothing of ours, and files of other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import attrs

from sat_core.classifier import Classifier
from sat_core.errors import SpecError, quoted
from sat_core.input_spec import InputSpec


@final
@attrs.frozen(kw_only=True)
class PlainCode:
    """How a network is made in its framework alone.

    Attributes:
        module: Source of a module ``model.py`` that the lines import; normalisation is in it.
        lines: Those that load weights from ``model.safetensors`` and compute logits of `images`, for people to copy.
        framework: Name of what they need, as ``PyTorch``.
        images: What `images` are, in words.
    """

    module: str
    lines: str
    framework: str
    images: str


class Publisher:
    """The part of a backend by which its networks leave; by default they do not."""

    name: str

    def plain_code(self, model: str, inputs: InputSpec, head: bool = False, native: Any = None) -> PlainCode | None:
        """Return code that makes a network without sat-core; None where nothing is known of it.

        Args:
            model: one of `models`, a network of another library, or a user's ``package.module:factory``.
            inputs: what stands in front of it.
            head: whether it has the head of a transfer.
            native: the network, where it could be built.
        """
        return None

    def save_onnx(self, classifier: Classifier, path: Path) -> None:
        """Write a network with all that stands in front of it as ONNX: images `(n, c, h, w)` in [0, 1] to logits.

        Any number of images goes in. Where ``onnxruntime`` is installed, its logits are compared with the classifier's.

        Raises:
            SpecError: The backend cannot.
            NotInstalledError: A package is missing.
            EvaluationError: The logits are others.
        """
        raise SpecError(
            f"--onnx: the backend {quoted(self.name)} writes no ONNX\n"
            "sat-core's own architectures load in PyTorch, too: sat export ... --onnx --backend torch"
        )
