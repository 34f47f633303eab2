"""Weights of other programs: which table holds them, and how their names become a network's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sat_core import checkpoint
from sat_core.errors import CheckpointError, SpecError
from sat_core.exported import Exported
from sat_core.input_spec import InputSpec
from sat_core.networks import open_network, said_by
from sat_core.reference import NumpyBackend
from sat_core.weights import Weights, table_in

PATH = Path("own.pt")
NETWORK = {"a.weight": np.zeros((2, 3), np.float32), "bn.num_batches_tracked": np.array(0), "fc.bias": np.zeros(4)}
OTHER = {name: np.asarray(value + 1) for name, value in NETWORK.items()}


def table(loaded: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    return table_in(loaded, lambda value: isinstance(value, np.ndarray), PATH)


def fitted(arrays: dict[str, Any], fresh: tuple[str, ...] = ()) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    return Weights(path=PATH, arrays=arrays).fitted(NETWORK, fresh)


def test_the_table_of_weights_is_found_where_training_scripts_put_it() -> None:
    for loaded, says in (
        (OTHER, ()),
        ({"epoch": 3, "state_dict": OTHER, "optimizer": {"state": {}}}, ("weights under 'state_dict'",)),
        ({"net": OTHER}, ("weights under 'net'",)),
        ({"model": {"ema": OTHER}}, ("weights under 'model'", "weights under 'ema'")),
        ({"ema": OTHER, "model": OTHER}, ("weights under 'model' (left out: ema; to take 'ema', save it alone)",)),
        ({**OTHER, "epoch": 3}, ("left out, as they are no weights: epoch",)),
    ):
        arrays, lines = table(loaded)
        assert arrays.keys() == OTHER.keys()
        assert lines == says


def test_what_holds_no_weights_is_refused() -> None:
    inside: dict[str, Any] = {}
    inside["state_dict"] = inside
    for loaded, says in (
        ({}, "got an empty table"),
        ({"state_dict": {}}, "got an empty table"),
        ({"epoch": 3, "best": 0.5}, "got a table with epoch, best"),
        (inside, "got a table with state_dict"),
        ([OTHER], "got list"),
        (3, "got int"),
    ):
        with pytest.raises(CheckpointError, match=f"own.pt: expected a table of weights, .*{says}\nsave the state"):
            table(loaded)


def test_names_of_wrappers_and_of_trainings_are_taken_away_and_said() -> None:
    for arrays, says in (
        (OTHER, ()),
        ({f"module.{name}": value for name, value in OTHER.items()}, ("'module', of DataParallel",)),
        ({f"_orig_mod.module.{name}": value for name, value in OTHER.items()}, ("'module', of", "'_orig_mod', of")),
        ({f"model.{name}": value for name, value in OTHER.items()}, ("'model.' was taken away from the names",)),
        (
            {f"{p}model.{name}": v for p in ("attacker.", "") for name, v in OTHER.items()} | {"norm.mean": np.ones(3)},
            ("'model.' was taken", "left out, as they are outside of 'model.': attacker.model.a.weight, .* and 0"),
        ),
    ):
        state, lines = fitted(arrays)
        assert state.keys() == NETWORK.keys()
        assert all((state[name] == OTHER[name]).all() for name in NETWORK)
        assert len(lines) == len(says)
        assert all(line.startswith(start.partition(",")[0]) for line, start in zip(lines, says, strict=True)), lines
    state, _ = fitted({name: value for name, value in OTHER.items() if name in ("a.weight", "fc.bias")})
    assert state["bn.num_batches_tracked"] == 0  # files from before PyTorch 0.4 have no counters


def test_weights_of_another_network_are_refused() -> None:
    for changes, says in (
        ({"fc.bias": np.zeros(7)}, r"'fc.bias': expected shape \(4,\), got shape \(7,\)"),
        ({"fc.bias": np.array([1, 2, np.nan, 4])}, "'fc.bias': expected finite numbers, got NaN or infinity"),
        ({"mean": np.zeros(3), "std": np.ones(3)}, "has 'mean' and 1 more, which the network has not"),
    ):
        with pytest.raises(CheckpointError, match=f"own.pt: {says}"):
            fitted({**OTHER, **changes})
    with pytest.raises(CheckpointError, match=r"'a\.weight': expected .*, got nothing of that name"):
        fitted({"fc.bias": OTHER["fc.bias"]})


def test_of_two_copies_of_the_network_none_is_guessed() -> None:
    copies = {
        p: {f"{p}{name}": value + extra for name, value in OTHER.items()} for extra, p in enumerate(("ema.", "z."))
    }
    with pytest.raises(CheckpointError, match=r"under 'z\.' and, with other weights, under 'ema\.'"):
        fitted({**copies["ema."], **copies["z."]})
    with pytest.raises(CheckpointError, match=r"has 'module\.a\.weight' and 1 more, which"):
        fitted({**OTHER, **{f"module.{name}": value + 1 for name, value in OTHER.items()}})
    state, lines = fitted({**copies["z."], **{f"model.{name}": value for name, value in OTHER.items()}})
    assert (state["fc.bias"] == OTHER["fc.bias"]).all()
    assert lines[1].startswith("left out, as they are outside of 'model.': z.a.weight")
    same = {f"{p}{name}": value for p in ("a.", "b.") for name, value in OTHER.items()}
    assert fitted(same)[0].keys() == NETWORK.keys()


def test_a_new_last_layer_keeps_its_own_weights() -> None:
    for arrays in ({**OTHER, "fc.bias": np.ones(7)}, {"a.weight": OTHER["a.weight"]}):
        state, lines = fitted(arrays, ("fc.bias",))
        assert (state["fc.bias"] == 0).all()
        assert (state["a.weight"] == 1).all()
        assert lines == ("the last layer is new: fc.bias",)
    state, lines = fitted(OTHER, ("fc.bias",))  # as many classes as before
    assert (state["fc.bias"] == 1).all()
    assert lines == ()


def test_a_network_comes_from_an_export_from_plain_arrays_or_from_a_checkpoint(tmp_path: Path) -> None:
    backend, inputs, images = NumpyBackend(), InputSpec(3, (4, 4, 1), (0.4,), (0.3,)), np.ones((2, 4, 4, 1), np.float32)
    made = backend.build_for(inputs, "linear", seed=3)
    attack = {"norm": "L2", "eps": 0.5}
    says = Exported(model="linear", inputs=inputs, backend="numpy", version={}, origin="0", attack=attack)
    arrays, ours = tmp_path / "model.safetensors", tmp_path / "ours.safetensors"
    save_file(made.state(), arrays)
    checkpoint.save(ours, {"model": made.state()}, {"model": dict(made.description), "attack": attack, "epoch": 3})
    plain = open_network(backend, inputs, arrays, "linear")
    assert (plain.model, plain.path, dict(plain.saved)) == ("linear", arrays, {})
    assert plain.fingerprint() == hashlib.sha256(arrays.read_bytes()).hexdigest()
    assert said_by(arrays) == said_by("") == {}
    with pytest.raises(CheckpointError, match=r"model\.safetensors: has weights, and does not say of which network"):
        open_network(backend, inputs, arrays, "")
    (tmp_path / "config.json").write_text(json.dumps(says.to_json()))
    bare = InputSpec(3, (4, 4, 1))
    exported, own = (open_network(backend, bare, path, "") for path in (tmp_path, ours))
    for network in (plain, exported, own):
        np.testing.assert_array_equal(network.classifier.logits(images), made.logits(images))
        assert network.classifier.inputs == inputs
    assert said_by(tmp_path)["attack"] == said_by(ours)["attack"] == attack
    for path in (tmp_path, ours):
        with pytest.raises(SpecError, match="mean, std: for weights of other programs only"):
            open_network(backend, inputs, path, "")
        with pytest.raises(SpecError, match="output: for weights of other programs only"):
            open_network(backend, InputSpec(3, (4, 4, 1), output="0"), path, "")
    ours.write_bytes(ours.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"ours\.safetensors: truncated or not a safetensors file"):
        said_by(ours)
