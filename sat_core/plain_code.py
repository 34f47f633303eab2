"""What a backend offers for networks that leave: code that needs nothing of ours, and files of other formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import attrs

from sat_core.classifier import Classifier
from sat_core.errors import SpecError, quoted
from sat_core.input_spec import InputSpec
from sat_core.outputs import USUAL
from sat_core.scaling import Scaling


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


def factory_of(model: str) -> tuple[str, str] | None:
    """Return module and function of a user's ``package.module:factory``; None for what cannot stand in Python code.

    >>> factory_of("my.nets:make"), factory_of("small-cnn"), factory_of("timm:resnet18?a=b")
    (('my.nets', 'make'), None, None)
    """
    module, _, factory = model.partition(":")
    good = factory.isidentifier() and all(part.isidentifier() for part in module.split("."))
    return (module, factory) if good else None


def factory_call(model: str, inputs: InputSpec) -> tuple[str, str, str] | None:
    """Return how a user's ``package.module:factory`` is called: the call, its module, and the line that imports it."""
    named = factory_of(model)
    if named is None:
        return None
    module, factory = named
    call = f"{factory}(classes={inputs.classes}, image_shape={inputs.image_shape})"
    return call, module, f"from {module} import {factory}"


def crop_ranges(scaling: Scaling) -> str:
    """Return the rows and columns of the centre that is kept, as they stand in an index.

    >>> crop_ranges(Scaling(size=36, crop=32))
    '2:34, 2:34'
    """
    both = zip(scaling.size, scaling.crop, strict=True)
    return ", ".join(f"{(first := round((size - kept) / 2))}:{first + kept}" for size, kept in both)


def module_source(title: str, needs: str, imports: Sequence[Mapping[str, str]], pieces: Sequence[str]) -> str:
    """Return the source of a module.

    Args:
        title: First sentence of its docstring.
        needs: Packages that it needs, in words.
        imports: Groups of lines, each with a text that stands where the line is needed; groups are set apart.
        pieces: Source of constants, functions and classes. Constants begin with a capital letter.
    """
    text = pieces[0]
    for before, piece in pairwise(pieces):
        # Constants stand one below the other, definitions two lines apart.
        text += ("" if before[:1].isupper() and piece[:1].isupper() else "\n\n") + piece
    used = [
        # As formatters order them: "from" behind "import".
        sorted((line for line, word in group.items() if word in text), key=lambda line: (line[0] == "f", line))
        for group in imports
    ]
    blocks = [["from __future__ import annotations"], *filter(None, used)]
    made = f"Made by sat-core from its own source; it needs {needs}, and nothing else."
    gap = "" if text[:1].isupper() else "\n"
    header = "\n\n".join("\n".join(lines) for lines in blocks)
    return f'"""{title}\n\n{made}\n"""\n\n{header}\n\n{gap}{text}'


def logits_code(output: Any, key: str, is_tensor: Callable[[Any], bool]) -> tuple[str, Any]:
    """Return an expression for the logits in a network's ``output``, as `sat_core.outputs.logits_in` finds them.

    Args:
        output: What the network returned.
        key: As there.
        is_tensor: Tells tensors of the framework.

    Returns:
        The expression, and the logits.

    >>> logits_code({"a": [2.0, 3.0]}, "a.1", lambda value: isinstance(value, float))
    ("output['a'][1]", 3.0)
    """
    code = "output"
    for part in key.split(".") if key else _usual(output, is_tensor):
        step = int(part) if isinstance(output, list | tuple) and part.isdecimal() else part
        attribute = isinstance(step, str) and not isinstance(output, Mapping)
        output = getattr(output, part) if attribute else output[step]
        code += f".{part}" if attribute else f"[{step!r}]"
    return code, output


def _usual(output: Any, is_tensor: Callable[[Any], bool]) -> list[str]:
    """Name the part that counts where none is asked for."""
    if is_tensor(output):
        return []
    named = [name for name in USUAL if (name in output if isinstance(output, Mapping) else hasattr(output, name))]
    return named[:1] or ["0"]
