"""An exported network in RobustBench: loaded by its zoo, attacked by its benchmark, listed with the same numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sat_core.accuracy import accuracies
from sat_core.backend import Backend
from sat_core.input_spec import InputSpec
from sat_core.json_fields import to_json
from sat_evaluation.cli import main

pytestmark = pytest.mark.interop

EPS = 8 / 255
MARGINS = (0.2, 0.2, 0.005, 0.005, -0.1)
"""By how much the pixels of an image's own class are above 0.5: robust beyond ε, and wrong below 0."""


@pytest.fixture(scope="module")
def exported(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a linear network, the sum of 300 pixels for each class, and images of known margins."""
    from sat_evaluation.publish.export import export

    folder = tmp_path_factory.mktemp("robustbench")
    pixels = np.zeros((10, 32 * 32 * 3), np.float32)
    for k in range(10):
        pixels[k, 300 * k : 300 * (k + 1)] = 1
    classifier = backend.build_for(InputSpec(10, (32, 32, 3)), "linear")
    names = {array.ndim: name for name, array in classifier.state().items()}
    # its pixels come channel by channel
    channels_first = pixels.reshape(10, 32, 32, 3).transpose(0, 3, 1, 2).reshape(10, -1)
    classifier.load_state({names[2]: 0.05 * channels_first, names[1]: np.zeros(10, np.float32)})
    labels = np.arange(len(MARGINS))
    images = 0.5 + np.array(MARGINS)[:, None] * (2 * pixels[labels] - 1)
    images = images.astype(np.float32).reshape(-1, 32, 32, 3)
    assert (classifier.logits(images).argmax(1) == labels).tolist() == [margin > 0 for margin in MARGINS]
    train = {
        "x_train": np.zeros((10, 32, 32, 3), np.float32),
        "y_train": np.arange(10),
    }  # says that there are 10 classes
    np.savez(folder / "images.npz", **train, x_test=images, y_test=labels)
    export(classifier, folder / "exported", licence="cc0-1.0", backend=backend)
    return folder


def evaluated(folder: Path, backend: Backend, *more: str) -> Path:
    """The file of `sat evaluate` on these images."""
    words = ["evaluate", str(folder / "exported"), "--data", f"npz:{folder / 'images.npz'}"]
    words += ["--norm", "Linf", "--eps", "8/255", "--out", str(folder / "evaluation"), "--backend", backend.name]
    assert main([*words, *more]) == 0
    return max((folder / "evaluation").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)


class AutoAttack:
    """pyautoattack, taken as RobustBench takes the package of the authors: arguments and results have other names."""

    def __init__(self, model: Any, *, log_path: str | None, **options: Any) -> None:
        from pyautoattack import AutoAttack

        assert log_path is None
        self.attack = AutoAttack(model, **options)

    def run_standard_evaluation(self, images: Any, labels: Any, *, bs: int, state_path: Path | None) -> Any:
        return self.attack.run_standard_evaluation(images, labels, batch_size=bs, state_path=state_path)[0]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_its_benchmark_gives_our_numbers(
    exported: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from sat_torch.zoos import importable_robustbench

    folder = exported / "exported"
    results = evaluated(exported, backend)
    words = ["robustbench", str(folder), "--name", "Toy2026Subset", "--results", str(results), "--data", "cifar10"]
    assert main(words) == 0
    assert "fill in link, name, authors, venue" in capsys.readouterr().out
    claim = json.loads((folder / "model_info/cifar10/Linf/Toy2026Subset.json").read_text())
    assert (claim["clean_acc"], claim["autoattack_acc"], claim["eps"]) == ("80.00", "40.00", "8/255")
    assert claim["footnote"] == "Measured on 5 test images."

    with importable_robustbench():
        import robustbench
        import robustbench.eval
        from robustbench.data import _clean_dataset_loaders
        from robustbench.model_zoo.enums import BenchmarkDataset
        from robustbench.utils import ModelInfo, list_available_models
    fields = {*ModelInfo.__dataclass_fields__}
    assert {*claim} - {"unreliable"} <= fields

    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for name in ("model", "robustbench_model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import robustbench_model

    robustbench_model.register("models")
    model = robustbench.load_model("Toy2026Subset", model_dir="models", dataset="cifar10", threat_model="Linf")
    with np.load(exported / "images.npz") as arrays:
        images = torch.from_numpy(arrays["x_test"].transpose(0, 3, 1, 2).copy())
        labels = torch.from_numpy(arrays["y_test"])
    monkeypatch.setattr(robustbench.eval, "AutoAttack", AutoAttack)
    # benchmark reads CIFAR-10 from a folder; this is its own table of what reads which data set
    monkeypatch.setitem(_clean_dataset_loaders, BenchmarkDataset.cifar_10, lambda n, *_: (images[:n], labels[:n]))
    measured = robustbench.benchmark(model, dataset="cifar10", threat_model="Linf", eps=EPS, to_disk=False)
    assert [f"{100 * accuracy:.2f}" for accuracy in measured] == [claim["clean_acc"], claim["autoattack_acc"]]
    capsys.readouterr()
    list_available_models("cifar10", "Linf")
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "Toy2026Subset" in line)
    assert "80.00%" in row
    assert "40.00%" in row
    assert "linear" in row


def results_of(**changes: Any) -> dict[str, Any]:
    accuracy = to_json(accuracies(np.arange(10) < 5, np.arange(10), 10, None))
    known = {"data": {"name": "cifar10"}, "norm": "Linf", "eps": EPS, "level": "standard", "engine": "package"}
    return {**known, "clean_accuracy": accuracy, "robust_accuracy": accuracy, **changes}


def test_what_robustbench_does_not_list_is_refused_and_leaves_nothing(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "results.json", exported / "exported"
    for changes, name, words in (
        ({"data": {"name": "digits"}}, "A", "--data: RobustBench has cifar10, cifar100, imagenet, got 'digits'"),
        ({"data": {"name": "cifar100"}}, "A", "with 100 classes, got 10"),
        ({"norm": "L1"}, "A", "RobustBench has the norms Linf and L2, got 'L1'"),
        ({"level": "screening"}, "A", "sat evaluate --level standard"),
        ({"engine": "fast"}, "A", "expected standard AutoAttack by the engine 'package'"),
        ({"eps": "big"}, "A", "expected the results of an arm"),
        ({}, "../A", "--name: expected letters"),
    ):
        file.write_text(json.dumps(results_of(**changes)))
        assert main(["robustbench", str(folder), "--name", name, "--results", str(file)]) == 2
        assert words in capsys.readouterr().err
        assert not list(folder.rglob("A.*"))
    file.write_text(json.dumps(results_of()))
    assert main(["robustbench", str(tmp_path), "--name", "A", "--results", str(file)]) == 2
    assert "`sat export` makes one" in capsys.readouterr().err
