"""The table of docs/data.md says what becomes of odd data sources; images that are taken are the right ones."""

from __future__ import annotations

import numpy as np
import pytest
from data_sources import PAGE, SOURCES, code, made_of, outcome, photos, table, x, y

pytestmark = pytest.mark.interop

ROWS = table().splitlines()[2:]


def test_the_page_has_the_table() -> None:
    assert len(SOURCES) >= 25
    assert table() in PAGE.read_text(encoding="utf-8"), "python tests/interop/data_sources.py writes it anew"


def test_all_are_taken_or_refused_in_a_line() -> None:
    for row in ROWS:
        outcome = row.split(" | ")[2]
        assert outcome.startswith("refused: train: ") or "images" in outcome or "_train: expected" in outcome, row
    refused = sum("refused" in row for row in ROWS)
    assert 10 < refused < len(ROWS) - 10


GREY = np.stack([np.asarray(photo.convert("L"))[..., None] for photo in photos])
ORDER = np.arange(11, 5, -1)
IMAGES = {
    "PyTorch: a `Subset` of a `Subset`": (x[ORDER], y[ORDER]),
    "PyTorch: `ConcatDataset`": (np.concatenate([x, x[:3]]), np.concatenate([y, y[:3]])),
    "torchvision: `ImageFolder`": (x[np.argsort([f"{label}/{n}.png" for n, label in enumerate(y)])], np.sort(y)),
    "Pillow: grey": (GREY, y),
    "Pillow: a palette": (np.stack([np.asarray(photo.convert("P").convert("RGB")) for photo in photos]), y),
    "Pillow: 16-bit grey": (np.zeros_like(GREY) + (GREY.astype(int) + 128) // 257, y),
}


@pytest.mark.parametrize("row", SOURCES, ids=[row[0] for row in SOURCES])
def test_images_and_labels_are_those_of_the_source(row: tuple) -> None:
    name, give, options = row
    if outcome(give, options).startswith("refused"):
        return
    images, labels = IMAGES.get(name, (x, y))
    part = made_of(give, options).train
    assert part.labels.tolist() == labels.tolist()
    if "size" not in options:
        np.testing.assert_array_equal(part.images[:], images)
    assert code(give, options)
