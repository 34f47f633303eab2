"""An exported network as RobustBench takes it: a module for its model zoo, and the claim of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import attrs

from sat_core import files
from sat_core.accuracy import Accuracies
from sat_core.arm_results import ArmResults
from sat_core.checkpoint import EXPORTED as WEIGHTS
from sat_core.errors import DataError, SpecError, quoted
from sat_core.exported import Exported
from sat_core.json_fields import from_json, json_field, number, part, table, text
from sat_core.unit_folder import UnitFolder

DATA = {"cifar10": (10, (32, 32, 3), 10_000), "cifar100": (100, (32, 32, 3), 10_000), "imagenet": (1000, None, 5_000)}
"""Data sets of RobustBench: classes, the shape of images where it is fixed, and how many test images it attacks."""
NORMS = ("Linf", "L2")
MODULE = "robustbench_model.py"
TO_FILL_IN = ("link", "name", "authors", "venue")
"""Fields of a claim on the paper, which nobody here knows."""
_CODE = '''"""{name} for RobustBench, trained by sat-core on a subset of adversarial examples.

    import robustbench, robustbench_model
    robustbench_model.register("models")
    model = robustbench.load_model({name!r}, model_dir="models", dataset={data!r}, threat_model={norm!r})
    robustbench.benchmark(model, dataset={data!r}, threat_model={norm!r}, eps={eps!r}, data_dir=...)
"""

from pathlib import Path

import torch
from model import make_model
from robustbench.model_zoo import model_dicts
from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel
from safetensors.torch import load_file


def register(model_dir: str) -> None:
    """Add the network to the zoo of this process, and its weights to `model_dir`, where `load_model` looks for them."""
    path = Path(model_dir, {data!r}, {norm!r}, {file!r})
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(load_file(Path(__file__).with_name({weights!r})), path)
    # make_model() returns a module for images (n, c, h, w) in [0, 1]; normalisation is in it
    entry = {{"model": make_model, "gdrive_id": "the weights are there"}}
    model_dicts[BenchmarkDataset({data!r})][ThreatModel({norm!r})][{name!r}] = entry
'''


@final
@attrs.frozen(kw_only=True)
class Measured:
    """What a claim says of an evaluation; also the form in which `sat evaluate` writes it.

    Attributes:
        data: Name of the data set, and more.
        norm, eps: Threat model.
        clean, robust: Accuracies.
        level, engine: Which attacks ran, and whose.
        footnote: What else a reader has to know.
    """

    data: dict[str, Any] = json_field(table)
    norm: str = json_field(text)
    eps: float = json_field(number(0))
    clean: Accuracies = json_field(part(Accuracies), key="clean_accuracy")
    robust: Accuracies = json_field(part(Accuracies), key="robust_accuracy")
    level: str = json_field(text)
    engine: str = json_field(text)
    footnote: str = json_field(text, "", omit=True)

    @classmethod
    def read(cls, path: Path) -> Measured:
        """Return what the folder of an arm, its ``results.json``, or a JSON file of `sat evaluate` says.

        Raises:
            SatError: It is none of these.
        """
        path = UnitFolder(path).results_file if path.is_dir() else path
        content = files.read_json(path)
        try:
            if not isinstance(content, dict) or "arm" not in content:
                return from_json(cls, content)
            return cls._of_arm(ArmResults.from_json(content))
        except DataError as error:
            raise DataError(
                f"{path}: expected the results of an arm, or a file that `sat evaluate` wrote ({error})"
            ) from error

    @classmethod
    def _of_arm(cls, results: ArmResults) -> Measured:
        attack = results.spec["attack"]
        return cls(
            data={"name": results.data.name},
            norm=attack["norm"],
            eps=attack["eps"],
            clean=results.clean,
            robust=results.robust,
            level=results.level,
            engine=results.attacks.engine,
            footnote=f"Adversarial examples for {100 * results.trained.split.share:.3g}% of the training examples.",
        )


def write_robustbench(folder: Path, name: str, results: Path, data: str = "") -> tuple[Path, Path]:
    """Write a module and a claim for RobustBench into an exported folder; returns their paths.

    Args:
        folder: What `sat export` made, of a network in PyTorch.
        name: Of the network in RobustBench, by its custom such as ``Losch2024Subset_R18``.
        results: The folder of the arm or its ``results.json``, or a JSON file of `sat evaluate`.
        data: One of `DATA`; by default the data set of the results.

    Raises:
        SatError: Something is missing, or is none that RobustBench lists.
    """
    if not name.replace("-", "_").isidentifier():
        raise SpecError(f"--name: expected letters, digits, - and _, as Losch2024Subset_R18, got {quoted(name)}")
    exported, measured = Exported.read(folder), Measured.read(results)
    data = data or str(measured.data.get("name", "")).partition(":")[0].partition("?")[0]
    _check(exported, measured, data)
    code = folder / "model.py"
    if not code.is_file() or "\nfrom torch import " not in code.read_text(encoding="utf-8"):
        raise SpecError(
            f"{folder}: has no model.py for PyTorch, which RobustBench needs\n"
            "`sat export --backend torch` writes it for sat-core's own architectures and for factories of yours"
        )
    claim = folder / "model_info" / data / measured.norm / f"{name}.json"
    files.write_json(claim, _claim(exported, measured, data))
    words = {"name": name, "data": data, "norm": measured.norm, "eps": measured.eps, "weights": WEIGHTS}
    files.write_text(folder / MODULE, _CODE.format(**words, file=f"{name}.pt"))
    return folder / MODULE, claim


def _check(exported: Exported, measured: Measured, data: str) -> None:
    """Raise SpecError for what RobustBench does not list."""
    if data not in DATA:
        raise SpecError(f"--data: RobustBench has {', '.join(DATA)}, got {quoted(data)}")
    classes, shape, _ = DATA[data]
    inputs = exported.inputs
    if inputs.classes != classes or shape not in (None, tuple(inputs.image_shape)):
        raise SpecError(
            f"--data: expected a network for {data}, with {classes} classes, got {inputs.classes} and images "
            f"{tuple(inputs.image_shape)}"
        )
    if measured.norm not in NORMS:
        raise SpecError(f"--results: RobustBench has the norms {' and '.join(NORMS)}, got {quoted(measured.norm)}")
    if measured.level not in ("standard", "plus") or measured.engine != "package":
        raise SpecError(
            f"--results: expected standard AutoAttack by the engine 'package', got {measured.level!r} by "
            f"{measured.engine!r}\n`sat evaluate --level standard` runs it"
        )


def _claim(exported: Exported, measured: Measured, data: str) -> dict[str, Any]:
    robust, clean, test = measured.robust.all, measured.clean.all, DATA[data][2]
    images = "" if robust.n == test else f"Measured on {robust.n:,} test images. "
    return {
        **dict.fromkeys(TO_FILL_IN, ""),
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": data,
        "architecture": exported.model,
        "eps": _fraction(measured.eps),
        "clean_acc": f"{100 * clean.value:.2f}",
        "reported": f"{100 * robust.value:.2f}",
        "autoattack_acc": f"{100 * robust.value:.2f}",
        "footnote": f"{images}{measured.footnote}".strip(),
        "unreliable": False,
    }


def _fraction(eps: float) -> str:
    """ε as RobustBench writes it.

    >>> _fraction(8 / 255), _fraction(0.5)
    ('8/255', '0.5')
    """
    pixels = 255 * eps
    return f"{round(pixels)}/255" if abs(pixels - round(pixels)) < 1e-6 else f"{eps:g}"
