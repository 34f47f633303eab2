"""`sat` commands of the documentation are executed: trainings until they would begin, all else on a small run."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from blocks import OF_THE_SITE, PAGES, ROOT, SMALL, commands

import sat_core as sat
from sat_core.backend import Backend
from sat_evaluation.cli import main
from sat_evaluation.plan import measure

pytestmark = pytest.mark.backend

ELSEWHERE = {
    "cuda": "a GPU",
    "cuda:1": "a GPU",
    "slurm": "a cluster",
    "download": "a network",
    "push": "a hub",
    "pull": "a hub",
    "verify": "a data set that is downloaded",
    "transfer": "a training: it has no dry run",
    "mlflow": "a library that is in the environment interop only",
    "compare": "a reproduction that has trained",
    "robustbench:Carmon2019Unlabeled?threat=Linf": "RobustBench and its weights",
    "model.name=timm:resnet10t": "timm, which `tests/interop` has",
    "robustbench": "a network for CIFAR-10",
    "runs/cifar10/arms/size-0.5": "a training on CIFAR-10",
    "runs/cifar10/arms/size-0.5/checkpoint-best": "a training on CIFAR-10",
    "completion": "shtab, which `tests/interop` has",
    "data.name=squares": "the plug-in that its page makes",
    "timm:resnet18d": "timm, which `tests/interop` has",
    "subset.strategy=middle": "the module that its page shows",
    "runs/own/arms/size-0.5/checkpoint-best": "a training of one's own model",
}
"""Words of commands that need what is not here, and what; `test_commands.py` reads these, too."""
COMMANDS = [words[1:] for page in [*PAGES, *OF_THE_SITE] for words in commands(page) if Path(words[0]).name == "sat"]
HERE = [words for words in COMMANDS if not {*words} & {*ELSEWHERE}]


@pytest.fixture(scope="module")
def workplace(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages have made before: the examples, an order, one's own model, a finished run."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "examples/digits.toml", folder)
    own = "own_model" if backend.name == "torch" else "own_model_tensorflow"
    shutil.copy(ROOT / f"examples/{own}.py", folder / "own_model.py")
    np.save(folder / "order.npy", np.arange(1437))
    write_cifar(folder)
    write_weights(folder, backend)
    study = sat.Study.load(ROOT / "examples/digits.toml")
    study = study.set({**SMALL, "subset.strategy": "random", "subset.size": [0.5]})
    study.run(folder / "runs/digits", backend=backend.name, progress=False)
    shutil.copytree(folder / "runs/digits", folder / "runs/baselines")
    return folder


def write_weights(folder: Path, backend: Backend) -> None:
    """Write weights of one's own model, as a program of the framework does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        native = backend.build("own_model:make", classes=10, image_shape=(8, 8, 1)).native
    if backend.name == "torch":
        import torch

        torch.save(native.state_dict(), folder / "own.pt")
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
            native.save_weights(folder / "own.weights.h5")


def write_cifar(folder: Path) -> None:
    """Write noise in place of CIFAR-10 and of its small copy, with as many images as dry runs need."""
    rng = np.random.default_rng(0)
    for name, side in (("cifar10.npz", 32), ("cifar10-16x16.npz", 16)):
        sizes = {"train": 128, "test": 2000}
        images = {f"x_{part}": rng.integers(0, 256, (n, side, side, 3), np.uint8) for part, n in sizes.items()}
        np.savez(folder / name, **images, **{f"y_{part}": np.arange(n) % 10 for part, n in sizes.items()})


def here(words: list[str], backend: str) -> list[str]:
    """The command as it can be tried here: no training longer than an epoch, no browser, the backend that there is."""
    words = [word for word in words if word != "--open"]
    if "--backend" in words:
        words[words.index("--backend") + 1] = backend
    if backend != "torch":
        words = [word.replace("own.pt", "own.weights.h5") for word in words]
    if "--epochs" in words:
        words[words.index("--epochs") + 1] = "1"
    if "--level" in words:  # of a study, which has one arm here; standard takes minutes
        return [*words[: words.index("--level") + 1], "screening", "--arms", "size-0.5"]
    if words[:2] == ["evaluate", "runs/digits"]:  # a study has images and attacks of its own
        return words
    attacks = [] if {*words} & {"--calibration", "--corruptions"} else ["--attacks", "apgd-ce"]
    more = {
        "run": ["--dry-run"],
        "reproduce": ["--dry-run"],
        "evaluate": [*attacks, "--examples", "4"],
        "rank": ["--set", "training.threads=1"],  # those of the other tests: TensorFlow takes no other number later
    }
    return [*words, *(word for word in more.get(words[0], []) if word != "--dry-run" or word not in words)]


@pytest.mark.parametrize("words", HERE, ids=" ".join)
def test_commands_run(
    words: list[str],
    workplace: Path,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("SAT_BACKEND", backend.name)
    monkeypatch.setattr(measure, "EACH", 1.0)  # seconds
    assert main(here(words, backend.name)) == 0, capsys.readouterr().err


def test_most_commands_are_here() -> None:
    assert len(HERE) > 25
    assert all(any(word in words for words in COMMANDS) for word in ELSEWHERE)
