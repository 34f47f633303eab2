"""`sat data`: list, info, download and verify."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
from archives import Get, Server, refusal

from sat_core.datasets import get_dataset
from sat_core.images import ImageSource
from sat_datasets import imagenet200
from sat_datasets.catalogue import CATALOGUE
from sat_datasets.verify import verify
from sat_evaluation.cli import main

pytestmark = pytest.mark.data


def test_verify_decodes_every_photograph_and_names_the_broken_one(get: Get, home: Path) -> None:
    get("caltech256")
    seen: list[tuple[int, int]] = []
    assert len(verify("caltech256", lambda *progress: seen.append(progress)).train) == 24
    assert seen == [(24, 30), (30, 30)]
    path = home / "caltech256/256_ObjectCategories/003.backpack/003_0002.jpg"
    path.write_bytes(path.read_bytes()[:300])
    get_dataset("caltech256")
    assert f"{path}: expected an image that Pillow can read" in refusal(lambda: verify("caltech256"))


def test_verify_knows_the_fingerprints_that_never_change(monkeypatch: pytest.MonkeyPatch) -> None:
    verify("digits")
    monkeypatch.setitem(CATALOGUE, "digits", attrs.evolve(CATALOGUE["digits"], fingerprint="0" * 64))
    assert f"expected the fingerprint {'0' * 64}, got 36c7a746" in refusal(lambda: verify("digits"))


def test_photographs_are_decoded_only_when_asked_for(imagenet: Path) -> None:
    for path in imagenet.glob("train/*/*_9.JPEG"):
        path.write_bytes(b"no image")
    data = get_dataset("imagenet200")
    assert isinstance(data.train.images, ImageSource)
    first = f"train/{imagenet200.WNIDS[0]}/{imagenet200.WNIDS[0]}_9.JPEG"
    assert first in refusal(lambda: verify("imagenet200"))


def sat(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What `sat data` prints, on one line."""
    assert main(["data", *arguments]) == status
    out, err = capsys.readouterr()
    assert (err if status == 0 else out) == ""
    assert status == 0 or len(err.strip().splitlines()) <= 3
    return " ".join((out or err).split())


def test_the_list_fits_on_a_terminal(
    get: Get, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    get("svhn")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert {*CATALOGUE, "npz:PATH", "folder:PATH"} <= {*cells}
    assert {name: cells[name][-1] for name in CATALOGUE} == {
        name: "yes" if name in ("digits", "mnist5k", "svhn") else "no" for name in CATALOGUE
    }
    assert cells["imagenet200"][-5:] == ["200", "269,906", "by", "hand", "no"]


def test_info_of_what_is_not_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = sat(capsys, "info", "flowers102")
    for said in (
        "1,020 training + 1,020 validation + 6,149 test",
        "0.4850, 0.4560, 0.4060",
        "Nilsback",
        "classes 102 ",
    ):
        assert said in printed
    assert f"not in {home / 'flowers102'}; `sat data download flowers102` gets it (345 MB)" in printed
    assert "fingerprint" not in printed
    assert "place train/nXXXXXXXX/*.JPEG and" in sat(capsys, "info", "imagenet200:elsewhere")


def test_info_of_what_is_here(get: Get, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = get("flowers102")
    printed = sat(capsys, "info", "flowers102?size=16")
    for said in ("102: pink primrose, ", "..., blackberry lily", "16 x 16 x 3, decoded when asked for", str(home)):
        assert said in printed
    assert "5 training + 3 validation + 4 test" in printed
    assert data.fingerprint() in sat(capsys, "info", "flowers102")
    assert "comes in scikit-learn" in sat(capsys, "info", "digits")


def test_info_of_data_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = np.zeros((6, 4, 5, 1), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    printed = sat(capsys, "info", f"npz:{tmp_path / 'own.npz'}")
    assert "classes 3: 0, 1, 2 images 6 training + 6 test size 4 x 5 x 1, in memory" in printed
    assert get_dataset(f"npz:{tmp_path / 'own.npz'}").fingerprint() in printed


def test_download_and_verify(
    server: Server, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("svhn", monkeypatch)
    assert sat(capsys, "download", "svhn") == f"svhn: downloaded to {home / 'svhn'}"
    assert sat(capsys, "download", "svhn") == f"svhn: here already, and whole, in {home / 'svhn'}"
    assert sat(capsys, "verify", "svhn") == "svhn: 30 images, all well"
    other = home / "other"
    assert sat(capsys, "download", "svhn", "--root", str(other)) == f"svhn: downloaded to {other}"
    (other / "test_32x32.mat").write_bytes(b"broken")
    printed = sat(capsys, "verify", f"svhn:{other}", status=2)
    assert f"sat: {other / 'test_32x32.mat'}: expected the published file, MD5 " in printed
    assert f"move {other / 'test_32x32.mat'} away, then `sat data download svhn --root {other}` gets it" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["info", "cifar1"], "did you mean 'cifar10'?"),
        (["download", "cifar1"], "did you mean 'cifar10'?"),
        (["download", "npz"], "unknown named data set 'npz'"),
        (
            ["download", "cifar10:here"],
            "expected a name without path and options, got 'cifar10:here'; --root says where",
        ),
        (["download", "digits"], "got one that comes in scikit-learn"),
        (["verify", "cifar10"], "`sat data download cifar10` gets it"),
        (["verify", "npz:nowhere.npz"], "nowhere.npz"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_command_refuses(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in sat(capsys, *arguments, status=2)
