"""G7, G8: images are decoded when they are needed, nearly as fast as by torchvision, in memory that does not grow."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure import record

SIZE, BATCH, WORKERS = 224, 64, 2
ROUNDS, IMAGES = 9, 2048
"""Rounds of the comparison of rates, and images that each side decodes in a round."""


@pytest.fixture(scope="module")
def trees(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Trees of 20,000 and of 2,500 JPEG files whose short side has 256 pixels; tiny ones in a smoke round."""
    few, many = (32, 128) if request.config.getoption("benchmark_disable") else (2500, 20000)
    root = tmp_path_factory.mktemp("trees")
    return _tree(root / "many", many), _tree(root / "few", few)


def _tree(root: Path, count: int) -> Path:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / ("test" if number % 20 == 0 else "train") / f"class{number // 20 % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        sides = (256, 256 + 37 * number % 128)[:: 1 if number % 2 else -1]
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
            sides, Image.Resampling.BICUBIC
        )
        noisy = np.asarray(small).astype(np.int16) + rng.integers(-12, 13, (*sides[::-1], 1), dtype=np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:06d}.jpg", quality=85)
    return root


def _ours(root: Path, order: np.ndarray) -> float:
    """Return our images per second after the first batch, cropped at random."""
    from sat_core.augmentation import AUGMENTATIONS
    from sat_core.datasets import get_dataset

    draws = AUGMENTATIONS.get("imagenet").draw(np.random.default_rng(0), BATCH)
    images = get_dataset(f"folder:{root}?size={SIZE}").train.images
    return _rate(images.stream((order[i : i + BATCH], draws) for i in range(0, len(order), BATCH)))


def _torchvision(root: Path, order: np.ndarray) -> float:
    """Return the same for ImageFolder and DataLoader."""
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, PILToTensor, RandomResizedCrop

    folder = ImageFolder(root / "train", Compose([RandomResizedCrop(SIZE), PILToTensor()]))
    return _rate(images for images, _ in DataLoader(Subset(folder, order.tolist()), BATCH, num_workers=WORKERS))


def _rate(batches: Any) -> float:
    next(batches)
    start, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch)
    return count / (time.perf_counter() - start)


def test_rate(benchmark: Any, trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAT_WORKERS", str(WORKERS))
    count = 2 * BATCH if benchmark.disabled else IMAGES
    order = np.random.default_rng(0).permutation(len(list((trees[0] / "train").rglob("*.jpg"))))[:count]
    reference: list[float] = []
    ours: list[float] = []
    benchmark.pedantic(
        lambda: ours.append(_ours(trees[0], order)),
        setup=lambda: reference.append(_torchvision(trees[0], order)),
        rounds=1 if benchmark.disabled else ROUNDS,
        warmup_rounds=0 if benchmark.disabled else 1,
    )
    record(benchmark, "stream-rate", (np.array(ours) / reference)[1:])


EPOCH = """
import sys
import numpy as np
from sat_core.augmentation import AUGMENTATIONS
from sat_core.datasets import get_dataset


def requests(count):
    order, draw = np.random.default_rng(0).permutation(count), AUGMENTATIONS.get("imagenet").draw
    for i in range(0, count, 64):
        rows = order[i : i + 64]
        yield rows, draw(np.random.default_rng(i), len(rows))


if __name__ == "__main__":
    images = get_dataset("folder:" + sys.argv[1] + "?size=224").train.images
    for batch in images.stream(requests(len(images))):
        assert batch.dtype == np.uint8
"""
"""A program that decodes every training image of a tree once.
"""


def _peak(root: Path, folder: Path) -> float:
    """Return the largest proportional set size of an epoch, in GiB, summed over the process and its descendants.

    Proportional: a page that several processes share counts once.
    """
    script = folder / "epoch.py"
    script.write_text(EPOCH)
    process = subprocess.Popen([sys.executable, str(script), str(root)])
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_pss(pid) for pid in _family(process.pid)))
        time.sleep(0.05)
    assert process.returncode == 0
    return peak / 2**20


def _family(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    below = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    return [parent, *(pid for child in below for pid in _family(child))]


def _pss(pid: int) -> int:
    """Return the proportional set size in KiB; 0 for a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@pytest.mark.parametrize("key", ["stream-memory", "stream-growth"])
def test_memory(
    benchmark: Any, key: str, trees: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peak with 20,000 images, in GiB, and as a multiple of the peak with an eighth of them."""
    monkeypatch.setenv("SAT_WORKERS", str(WORKERS))
    few: list[float] = []
    many: list[float] = []
    benchmark.pedantic(
        lambda: many.append(_peak(trees[0], tmp_path)),
        setup=lambda: few.append(_peak(trees[1], tmp_path)),
        rounds=1 if benchmark.disabled else 3,
    )
    assert min(few) > 0
    record(benchmark, key, many if key == "stream-memory" else np.array(many) / few)
