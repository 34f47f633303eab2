"""`sat push` and `sat pull`, and `load_model` of a name, by Hugging Face's own library and a hub on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import TOKEN, Hub, running

from sat_core.backend import Backend
from sat_core.input_spec import InputSpec
from sat_evaluation.publish.export import export

pytestmark = pytest.mark.interop

Sat = Callable[..., subprocess.CompletedProcess[str]]
NAMES = ["README.md", "config.json", "model.py", "model.safetensors"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as hub:
        yield hub


@pytest.fixture
def folder(backend: Backend, tmp_path: Path) -> Path:
    """An export, with a file beside it that is nobody else's business."""
    export(backend.build_for(InputSpec(3, (8, 8, 1)), "linear", seed=1), tmp_path / "net", backend=backend)
    (tmp_path / "net" / "notes.txt").write_text("mine")
    return tmp_path / "net"


@pytest.fixture
def sat(hub: Hub, tmp_path: Path) -> Sat:
    """The command in a process of its own, since the library reads its variables when it is imported."""

    def run(*arguments: object, code: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        program = ["-c", code] if code else ["-m", "sat_evaluation.cli"]
        command = [sys.executable, *program, *map(str, arguments)]
        environment = {**os.environ, **own, **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
        # Whatever happens, nobody reads the token on a screen or in a log.
        assert TOKEN not in done.stdout + done.stderr
        return done

    return run


def says(done: subprocess.CompletedProcess[str], text: str) -> None:
    """Check that the command refused in one line; the library's progress may stand before it."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("sat: ")]
    assert text in lines[0], done.stderr
    assert "Traceback" not in done.stderr


def test_a_network_goes_to_the_hub_and_comes_back(sat: Sat, hub: Hub, folder: Path, tmp_path: Path) -> None:
    pushed = sat("push", folder, "me/net", "--private")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"{hub.address}/me/net\n"
    assert hub.private == {"me/net": True}
    assert sorted(hub.branches["me/net"]["main"]) == NAMES
    assert "POST /api/validate-yaml" in hub.requests  # the library has the hub look at the card
    pulled = sat("pull", "me/net", tmp_path / "back")
    assert pulled.returncode == 0, pulled.stderr
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == NAMES
    for name in NAMES:
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes(), name
    assert not list(tmp_path.glob(".partial*"))
    code = "import sys, sat_core; print(sat_core.load_model(sys.argv[1]).state()['fc.weight'].shape)"
    loaded = sat("me/net", code=code)
    assert loaded.stdout == "(3, 64)\n", loaded.stderr
    fetched = {request.rpartition("/")[2] for request in hub.requests if request.startswith("GET /me/net/resolve")}
    assert fetched == {*NAMES}
    # What has been fetched is there without a network, too.
    assert sat("me/net", code=code, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:1").stdout == "(3, 64)\n"


def test_a_branch_has_files_of_its_own(sat: Sat, hub: Hub, folder: Path, tmp_path: Path) -> None:
    assert sat("push", folder, "me/net").returncode == 0
    (folder / "README.md").write_text("---\nlicense: mit\n---\nanother card")
    assert sat("push", folder, "me/net", "--revision", "v2", "--message", "second").returncode == 0
    assert sat("pull", "me/net", tmp_path / "new", "--revision", "v2").returncode == 0
    assert sat("pull", "me/net", tmp_path / "old").returncode == 0
    assert (tmp_path / "new" / "README.md").read_text().endswith("another card")
    assert "another card" not in (tmp_path / "old" / "README.md").read_text()
    assert hub.private == {"me/net": False}
    says(sat("pull", "me/net", tmp_path / "none", "--revision", "v3"), "me/net: not found, or private: check the name")
    # The same weights with another card replace it; anything else is left alone.
    assert sat("pull", "me/net", tmp_path / "old", "--revision", "v2").returncode == 0
    assert (tmp_path / "old" / "README.md").read_text().endswith("another card")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("a")
    says(sat("pull", "me/net", tmp_path / "full"), "has files, and is no export")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["a.txt"]


def test_what_cannot_be_is_said_in_one_line(sat: Sat, hub: Hub, folder: Path, tmp_path: Path) -> None:
    says(sat("push", folder, "me/net", HF_TOKEN="hf_wrong"), "me/net: needs a token that may do this")
    says(sat("push", folder, "net"), "'net': expected a folder that is there, or OWNER/NAME")
    says(sat("push", tmp_path, "me/net"), "expected an export of sat-core")
    gone = {"HF_ENDPOINT": "http://127.0.0.1:1"}
    says(sat("push", folder, "me/net", **gone), "me/net: the hub cannot be reached")
    says(sat("pull", "me/net", tmp_path / "back", **gone), "me/net: the hub cannot be reached")
    says(
        sat("pull", "me/net", tmp_path / "back", HF_HUB_OFFLINE="1"), "me/net: no folder of that name here, and HF_HUB"
    )
    says(sat("push", folder, "me/net", HF_HUB_OFFLINE="1"), "me/net: HF_HUB_OFFLINE is set")
    says(sat("pull", "me/net", tmp_path / "back"), "me/net: not found, or private")
    hub.branches["me/odd"], hub.private["me/odd"] = {"main": {"config.json": b'{"model_type": "bert"}'}}, False
    says(sat("pull", "me/odd", tmp_path / "back"), "me/odd: expected an export of sat-core (config.json: ")
    assert not [path for path in tmp_path.iterdir() if path.name not in ("net", "home")]
