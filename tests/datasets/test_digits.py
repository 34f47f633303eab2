"""The data sets that packages ship never change; statistics of images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import refusal

from sat_core.array_data import mean_and_std
from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_core.errors import NotInstalledError, SpecError
from sat_datasets import digits, folder

pytestmark = pytest.mark.data


def test_digits_never_change() -> None:
    data = get_dataset("digits")
    assert data.fingerprint() == "36c7a746a033c17ebc0194e9239ae15e1e29cef1afd6e7467e58593988dcb18e"
    assert (len(data.train), len(data.test), data.image_shape) == (1437, 360, (8, 8, 1))
    assert data.train.classes == data.test.classes == 10
    assert data.train.images.dtype == np.float32
    assert data.class_names == tuple("0123456789")
    assert (data.mean, data.std) == ((0.3053,), (0.3759,))
    assert data.licence == "CC BY 4.0"
    assert "Alpaydin" in data.citation


def test_digits_are_all_of_scikit_learns_once() -> None:
    from sklearn.datasets import load_digits

    data = digits.load("")
    both = np.concatenate([data.train.images, data.test.images])[..., 0] * 16
    labels = np.concatenate([data.train.labels, data.test.labels])
    ours = sorted(
        (*pixels, label) for pixels, label in zip(both.reshape(-1, 64).tolist(), labels.tolist(), strict=True)
    )
    bunch = load_digits()
    scikits = sorted((*pixels, label) for pixels, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))
    assert ours == scikits


def test_digits_are_found_where_scikit_learn_keeps_them_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "_FILE", "nowhere.csv.gz")
    moved = digits.load().fingerprint()
    assert "sklearn.datasets" in sys.modules
    monkeypatch.undo()
    assert moved == digits.load().fingerprint()


def test_digits_in_part_are_a_task_of_their_own() -> None:
    whole, low, high = (get_dataset(name) for name in ("digits", "digits?classes=0-4", "digits?classes=5-9"))
    assert (low.classes, high.class_names) == (5, tuple("56789"))
    assert high.name == "digits?classes=5-9"
    assert len(low.test) + len(high.test) == len(whole.test)
    high_only = whole.train.labels >= 5
    np.testing.assert_array_equal(high.train.images, whole.train.images[high_only])
    np.testing.assert_array_equal(high.train.labels, whole.train.labels[high_only] - 5)
    assert get_dataset("digits?classes=0-9").fingerprint() == whole.fingerprint()
    for wrong in ("5", "5-5", "9-0", "0-10"):
        with pytest.raises(SpecError, match="expected two or more of 0-9"):
            get_dataset(f"digits?classes={wrong}")


def test_mnist5k_in_other_sizes() -> None:
    assert get_dataset("mnist5k?size=14").image_shape == (14, 14, 1)
    for wrong in ("0", "29", "x"):
        with pytest.raises(SpecError, match="expected 1 to 28 pixels"):
            get_dataset(f"mnist5k?size={wrong}")


def test_digits_constants_are_those_of_the_training_images() -> None:
    images = digits.load().train.images.astype(float)
    assert (round(images.mean(), 4),) == digits.MEAN
    assert (round(images.std(), 4),) == digits.STD


def test_digits_take_no_argument() -> None:
    assert "'extra'" in refusal(digits.load, "extra")


@given(hnp.arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 6)), st.data())
def test_validation_is_in_proportion(labels: np.ndarray, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(labels)))
    mask = digits.validation_mask(labels, size)
    assert mask.sum() == size
    n, exact = len(labels), np.bincount(labels) * size  # in n-ths, so that nothing is rounded
    taken = np.bincount(labels[mask], minlength=len(exact)) * n
    assert np.all(np.abs(taken - exact) < n)
    up, down = exact[taken > exact] % n, exact[taken < exact] % n
    assert up.min(initial=n) >= down.max(initial=0)


@pytest.mark.parametrize(
    ("module", "load", "message"),
    [
        (
            "sklearn",
            digits.load,
            "data set 'digits' needs scikit-learn: pip install '.[data]' in the folder of sat-core's source",
        ),
        (
            "PIL.Image",
            folder.load,
            "data set 'folder' needs Pillow: pip install '.[data]' in the folder of sat-core's source",
        ),
    ],
)
def test_says_what_to_install(
    module: str, load: Callable[[str], DataSet], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotInstalledError) as caught:
        load("" if load is digits.load else str(tmp_path))
    assert str(caught.value) == message


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_no_framework_is_imported() -> None:
    listed = "print(sorted({'torch', 'tensorflow', 'jax', 'sklearn', 'scipy', 'pandas', 'PIL'} & set(sys.modules)))"
    assert run(f"import sys, sat_datasets.digits, sat_datasets.npz, sat_datasets.folder; {listed}") == "[]"
    assert run(f"import sys; from sat_core.datasets import get_dataset; get_dataset('digits'); {listed}") == "[]"
    assert "sklearn" in run(f"import sys; from sklearn.datasets import load_digits; {listed}")


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))))
def test_mean_and_std_are_numpys(images: np.ndarray) -> None:
    for stored in (images, (images / 255).astype(np.float32)):
        mean, std = mean_and_std(stored)
        expected = (images / 255).std(axis=(0, 1, 2))
        np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), atol=1e-6)
        np.testing.assert_allclose(std, np.where(expected < 5e-7, 1, expected), atol=1e-6)


def test_mean_and_std_of_several_blocks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2500, 3, 2, 3), dtype=np.uint8)
    images[:1024] //= 4
    mean, std = mean_and_std(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), atol=1e-6)
