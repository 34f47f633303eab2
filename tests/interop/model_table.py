"""Networks of libraries and odd ones of one's own, what becomes of each, and the table of docs/models.md.

SAT_TEST_INTEROP=1 python tests/interop/model_table.py torch tensorflow    writes the table
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from sat_core import checkpoint
from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import AttackSettings
from sat_core.backend import Backend, get_backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import SatError, SpecError
from sat_core.input_spec import InputSpec
from sat_core.scaling import Scaling
from sat_core.splits import Split
from sat_core.training_spec import TrainingSpec

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- made by tests/interop/model_table.py -->", "<!-- end -->"
SHAPE, CLASSES = (32, 32, 3), 4
EPS = 8 / 255
NONE = "-"
"""In place of an outcome, where there is no such network."""


@attrs.frozen
class Row:
    """A network: a name, or one of one's own, described.

    Args:
        name: of a library's network, or what is odd about it.
        options: of `Backend.wrap` for one of one's own.
        classes: of the images.
    """

    name: str
    options: dict[str, Any] = attrs.field(factory=dict)
    classes: int = CLASSES


LIBRARIES = [
    "timm:resnet10t",
    "timm:mobilenetv3_small_050",
    "timm:convnext_atto",
    "timm:vit_tiny_patch16_224?img_size=32",
    "timm:vit_tiny_patch16_224?depth=1",
    "timm:mixer_s32_224?img_size=32",
    "torchvision:mobilenet_v3_small",
    "torchvision:shufflenet_v2_x0_5",
    "torchvision:squeezenet1_1",
    "torchvision:googlenet?aux_logits=true",
    "torchvision:inception_v3",
    "keras:MobileNet?alpha=0.25",
    "keras:MobileNetV3Small?alpha=0.75",
    "keras:Xception",
]
ROWS = [
    *map(Row, LIBRARIES),
    Row("returns a dictionary with logits"),
    Row("returns an object with .logits"),
    Row("returns a tuple, logits first"),
    Row("returns a nested dictionary", {"output": "head.class"}),
    Row("returns several things without a usual name"),
    Row("one logit for two classes", classes=2),
    Row("for images of another size", {"scaling": Scaling(size=20, crop=16, interpolation="bicubic")}),
    Row("for pixels of 0..255"),
    Row("for pixels of 0..255, said", {"mean": (0,) * 3, "std": (1 / 255,) * 3}),
    Row("softmax at its end"),
    Row("logits are not a number"),
    Row("no gradient: pixels are rounded"),
    Row("depends on the batch"),
    Row("lazy layers"),
    Row("nested Sequential"),
    Row("dropout"),
    Row("normalised weights"),
    Row("float64"),
    Row("bfloat16"),
    Row("channels first"),
    Row("on the meta device"),
]


def torch_network(name: str, classes: int) -> Any:
    """Make an odd network of one's own; None where PyTorch has no such thing."""
    import torch
    from torch import nn
    from torch.nn.utils.parametrizations import weight_norm

    class Net(nn.Module):
        def __init__(self, before: Any = None, after: Any = None, *, last: Any = None, outputs: int = classes) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 3, stride=2), last or nn.Linear(4, outputs)
            self.before, self.after = before or (lambda x: x), after or (lambda x: x)

        def forward(self, x: Any) -> Any:
            return self.after(self.last(self.first(self.before(x)).relu().mean((2, 3))))

    class Result:
        def __init__(self, logits: Any) -> None:
            self.logits = logits

    def fixed() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, classes))

    makers: dict[str, Callable[[], Any]] = {
        "returns a dictionary with logits": lambda: Net(after=lambda x: {"aux": -x, "logits": x}),
        "returns an object with .logits": lambda: Net(after=Result),
        "returns a tuple, logits first": lambda: Net(after=lambda x: (x, x.detach())),
        "returns a nested dictionary": lambda: Net(after=lambda x: {"loss": x.sum(), "head": {"class": x}}),
        "returns several things without a usual name": lambda: Net(after=lambda x: {"a": x, "b": -x}),
        "one logit for two classes": lambda: Net(outputs=1),
        "for images of another size": fixed,
        "for pixels of 0..255": lambda: Net(lambda x: x / 255),
        "for pixels of 0..255, said": lambda: Net(lambda x: x / 255),
        "softmax at its end": lambda: Net(after=lambda x: x.softmax(1)),
        "logits are not a number": lambda: Net(after=lambda x: x * float("nan")),
        "no gradient: pixels are rounded": lambda: nn.Sequential(
            Lookup(nn.Embedding(256, 2)), nn.Flatten(), nn.Linear(2 * 32 * 32 * 3, classes)
        ),
        "depends on the batch": lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), Net()),
        "lazy layers": lambda: nn.Sequential(nn.LazyConv2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes)),
        "nested Sequential": lambda: nn.Sequential(nn.Sequential(nn.Sequential(Net()))),
        "dropout": lambda: nn.Sequential(nn.Dropout(0.2), Net(last=nn.Sequential(nn.Dropout(), nn.Linear(4, classes)))),
        "normalised weights": lambda: Net(last=weight_norm(nn.Linear(4, classes))),
        "float64": lambda: Net().double(),
        "bfloat16": lambda: Net().bfloat16(),
        "on the meta device": lambda: Net().to("meta"),
    }

    class Lookup(nn.Module):
        def __init__(self, table: nn.Embedding) -> None:
            super().__init__()
            self.table = table

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.table((x * 255).long())

    return makers[name]() if name in makers else None


def keras_network(name: str, classes: int) -> Any:
    """Make an odd network of one's own; None where Keras has no such thing."""
    import keras
    import tensorflow as tf
    from keras import layers

    class Net(keras.Model):  # type: ignore[misc]
        def __init__(self, before: Any = None, after: Any = None, outputs: int = classes, dtype: Any = None) -> None:
            super().__init__(dtype=dtype)
            self.first = layers.Conv2D(4, 3, 2, "same", dtype=dtype, name="first")
            self.last = layers.Dense(outputs, dtype=dtype)
            self.before, self.after = before or (lambda x: x), after or (lambda x: x)

        def call(self, x: Any) -> Any:
            x = tf.nn.relu(self.first(self.before(x)))
            return self.after(self.last(tf.reduce_mean(x, (1, 2))))

    class Result:
        def __init__(self, logits: Any) -> None:
            self.logits = logits

    class Norm(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return (x - keras.ops.mean(x, axis=(0, 1, 2))) / keras.ops.std(x, axis=(0, 1, 2))

    def sequence(*before: Any, shape: tuple[int, ...] | None = SHAPE, data_format: str = "channels_last") -> Any:
        first = layers.Conv2D(4, 3, 2, data_format=data_format, name="first")
        body = [first, layers.ReLU(), layers.Flatten(), layers.Dense(classes)]
        return keras.Sequential([*([keras.Input(shape)] if shape else []), *before, *body])

    makers: dict[str, Callable[[], Any]] = {
        "returns a dictionary with logits": lambda: Net(after=lambda x: {"aux": -x, "logits": x}),
        "returns an object with .logits": lambda: Net(after=Result),
        "returns a tuple, logits first": lambda: Net(after=lambda x: (x, tf.stop_gradient(x))),
        "returns a nested dictionary": lambda: Net(after=lambda x: {"loss": tf.reduce_sum(x), "head": {"class": x}}),
        "returns several things without a usual name": lambda: Net(after=lambda x: {"a": x, "b": -x}),
        "one logit for two classes": lambda: Net(outputs=1),
        "for images of another size": lambda: sequence(shape=(16, 16, 3)),
        "for pixels of 0..255": lambda: sequence(layers.Rescaling(1 / 255)),
        "for pixels of 0..255, said": lambda: sequence(layers.Rescaling(1 / 255)),
        "softmax at its end": lambda: Net(after=tf.nn.softmax),
        "logits are not a number": lambda: Net(after=lambda x: x * float("nan")),
        "no gradient: pixels are rounded": lambda: Net(before=tf.round),
        "depends on the batch": lambda: sequence(Norm()),
        "lazy layers": lambda: sequence(shape=None),
        "nested Sequential": lambda: keras.Sequential([keras.Input(SHAPE), keras.Sequential([sequence()])]),
        "dropout": lambda: sequence(layers.Dropout(0.2)),
        "normalised weights": lambda: keras.Sequential(
            [keras.Input(SHAPE), layers.Flatten(), layers.SpectralNormalization(layers.Dense(classes))]
        ),
        "float64": lambda: Net(dtype="float64"),
        "bfloat16": lambda: Net(dtype="bfloat16"),
        "channels first": lambda: sequence(data_format="channels_first"),
    }
    return makers[name]() if name in makers else None


def made(backend: Backend, row: Row, seed: int) -> Classifier | None:
    """Make a classifier of a row, new weights from the seed; None where the backend has no such network."""
    inputs = InputSpec(row.classes, SHAPE, (0.5,) * 3, (0.25,) * 3)
    if ":" in row.name.partition(" ")[0]:
        zoo = row.name.partition(":")[0]
        return backend.build_for(inputs, row.name, seed) if zoo in backend.zoos() else None
    with backend.seeded(seed):
        native = (torch_network if backend.name == "torch" else keras_network)(row.name, row.classes)
        return None if native is None else backend.wrap(native, image_shape=SHAPE, classes=row.classes, **row.options)


def outcome(backend: Backend, row: Row) -> str:
    """Wrap, train, attack, evaluate, save and load again; return ``works``, or the line with which it is refused."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            classifier = made(backend, row, 0)
            if classifier is None:
                return NONE
            refused = _journey(backend, row, classifier)
        except SatError as error:
            return "refused: " + str(error).splitlines()[0]
    said = [str(w.message) for w in caught if "batch-dependent" in str(w.message)]
    warned = f", and warns: {said[0].partition(':')[0]}" if said else ""
    return f"works{warned}" + (f"; its training is refused: {refused}" if refused else "")


def _journey(backend: Backend, row: Row, classifier: Classifier) -> str:
    """Return the line with which training is refused; all else has to work."""
    rng, refused = np.random.default_rng(1), ""
    images, labels = rng.random((8, *SHAPE), np.float32), rng.integers(0, row.classes, 8)
    attack = AttackSpec(norm="Linf", eps=EPS, steps=2, step_size=EPS)
    try:  # first, as some networks are drawn with a last layer of zeros, and have no gradient until they have learned
        _train(backend, classifier, Examples(images, labels, row.classes, "random"), attack)
    except SpecError as error:
        refused = str(error).splitlines()[0]
    adversarial = classifier.perturb(images, labels, attack)
    assert 0 < np.abs(adversarial - images).max() <= EPS * 1.0001, "perturb moves images, and not further than ε"
    short = AttackSettings(name="apgd-ce", iterations=2)
    result = backend.evaluate(classifier, images[:4], labels[:4], norm="Linf", eps=EPS, attacks=(short,))
    assert result.robust_accuracy.value <= result.clean_accuracy.value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        checkpoint.save(path, {"model": classifier.state()}, {})
        again = made(backend, row, 1)
        assert again is not None
        backend.load_weights(again, path)
        expected = classifier.logits(images)
        np.testing.assert_allclose(again.logits(images), expected, atol=1e-5 * max(1, np.abs(expected).max()))
    return refused


def _train(backend: Backend, classifier: Classifier, data: Examples, attack: AttackSpec) -> None:
    """Make two steps with half of the images in A; weights have to move."""
    members = np.arange(len(data)) % 2 == 0
    split = Split(kind="examples", strategy="listed", members=members, classes=None, weights=(1.0, 1.0))
    precision = "float64" if classifier.precision == "float64" else "float32"
    training = TrainingSpec(epochs=1, batch_size=4, lr=0.01, precision=precision)
    before = classifier.state()
    plan = Planner(split, training, attack, SHAPE).epoch(0)
    backend.trainer(classifier, data, training, attack).run(plan)
    assert any(not np.array_equal(value, before[name]) for name, value in classifier.state().items())


def table(text: str) -> dict[str, tuple[str, str]]:
    """Read the table of the page: by name what becomes of the network in PyTorch and in TensorFlow."""
    lines = re.search(rf"{re.escape(BEGIN)}\n(.*?){re.escape(END)}", text, re.DOTALL)
    assert lines is not None
    cells = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in lines[1].splitlines() if "|" in line]
    return {name.strip("`"): (torch, tensorflow) for name, torch, tensorflow in cells[2:]}


def cell(outcome: str) -> str:
    """Return an outcome as it stands in a table."""
    return outcome.replace("|", "/").replace("<", "&lt;")


def write(columns: dict[str, dict[str, str]]) -> None:
    """Write the outcomes of some backends, by backend and name, into the page; other columns stay."""
    text = PAGE.read_text()
    before = table(text)
    lines = ["| network | PyTorch | TensorFlow |", "|---|---|---|"]
    for row in ROWS:
        old = before.get(row.name, (NONE, NONE))
        new = [columns.get(b, {}).get(row.name, o) for b, o in zip(("torch", "tensorflow"), old, strict=True)]
        shown = f"`{row.name}`" if row.name in LIBRARIES else row.name
        lines.append(f"| {shown} | {new[0]} | {new[1]} |")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{tail}")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        backend = get_backend(name)
        write({name: {row.name: cell(outcome(backend, row)) for row in ROWS}})
