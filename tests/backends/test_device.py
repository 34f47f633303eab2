"""The hot path of a training in PyTorch: no host reads, noise and maps as in numpy, and captured steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sat_core.ascent import random_start
from sat_core.backend import Backend
from sat_core.noise import example_keys
from sat_core.testing import samples
from sat_core.testing.options import OPTIONS
from sat_core.threat import THREAT_MODELS

pytestmark = pytest.mark.torch

READS = ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "unique", "masked_select", "is_pinned")
"""Operations that make the host wait for the device."""


def counting() -> Any:
    """Return a mode of PyTorch's dispatcher that counts operations by name."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.calls: dict[str, int] = {}

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            self.calls[name] = self.calls.get(name, 0) + 1
            return func(*args, **(kwargs or {}))

    return Counting()


@pytest.mark.parametrize(
    "changes",
    [{}, {"augmentation": "cifar"}, {"precision": "bf16"}, {"precision": "fp16"}, {"optimizer": "adamw"}],
    ids=str,
)
def test_a_step_reads_nothing_from_the_device(backend: Backend, changes: dict[str, Any]) -> None:
    data, training = samples.examples(32, whole=True), samples.training(batch_size=16, lr=1e-3, **changes)
    attack = samples.attack(random_start=True)
    plan = samples.plans(32, 0.4, training, attack)[0]
    trainer = backend.trainer(samples.build(backend, "small-cnn"), data, training, attack)
    trainer.begin(plan, record=True)
    with counting() as mode:
        trainer.step(0)
        trainer.step(1)
    assert sum(mode.calls.get(name, 0) for name in READS) == 0, mode.calls
    assert mode.calls["convolution"] > 0
    with counting() as mode:
        trainer.losses(0, 2).tolist()
        float(trainer._losses[0])  # type: ignore[attr-defined]
    assert sum(mode.calls.get(name, 0) for name in READS) == 1  # the stub sees a read


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_random_starts_are_those_of_numpy(norm: str) -> None:
    import torch

    from sat_torch.ops import OPS

    keys, shape = example_keys(np.array([3, 4], np.uint32), 6), (5, 7, 3)
    made = random_start(OPS, norm, OPS.words(keys, torch.zeros(())), shape, 0.5).numpy().transpose(0, 2, 3, 1)
    expected = THREAT_MODELS.get(norm).start(keys, (6, *shape), 0.5)
    assert made.dtype == expected.dtype
    if norm == "Linf":
        np.testing.assert_array_equal(made, expected)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-7)


def captured(record: Callable[..., Any] | None = None) -> tuple[Any, Any, list[int]]:
    """A function that doubles its state and adds the size, captured by a recorder that runs it again."""
    import torch

    from sat_torch.graphs import Captured

    state, calls = torch.ones(3), []

    def function(size: int) -> None:
        calls.append(size)
        state.mul_(2).add_(size)

    def again(body: Callable[[], None]) -> Callable[[], None]:
        return body

    made = Captured(function, lambda: [[state]], torch.device("cpu"), record or again)
    return made, state, calls


def test_a_captured_function_makes_each_call_once() -> None:
    made, state, calls = captured()
    made(1)
    assert state.tolist() == [3, 3, 3]  # warm-up and check leave no trace
    first = len(calls)
    made(1)
    assert state.tolist() == [7, 7, 7]
    assert len(calls) == first + 1
    made(2)
    made(2)
    assert state.tolist() == [34, 34, 34]
    made.forget()
    made(1)
    assert state.tolist() == [69, 69, 69]


@pytest.mark.parametrize("wrong", ["nothing", "too much", "fails"])
def test_a_capture_that_differs_is_not_used(wrong: str) -> None:
    def record(body: Callable[[], None]) -> Callable[[], None]:
        if wrong == "fails":
            raise RuntimeError("operation not permitted when stream is capturing\nand more lines")
        return (lambda: None) if wrong == "nothing" else (lambda: (body(), body())[0])

    made, state, _ = captured(record=record)
    with pytest.warns(UserWarning, match=r"^training\.cuda_graphs: the step cannot be captured \(.+\); it runs"):
        made(1)
    assert state.tolist() == [3, 3, 3]
    assert not made.works
    made(2)
    assert state.tolist() == [8, 8, 8]


def test_a_network_that_someone_listens_to_is_not_captured(backend: Backend) -> None:
    """A graph calls no hooks."""
    from sat_torch.graphs import Captured

    data, training, attack = samples.examples(32, whole=True), samples.training(batch_size=16), samples.attack(steps=1)
    trainer: Any = backend.trainer(samples.build(backend, "small-cnn"), data, training, attack)
    replays: list[int] = []
    heard: list[int] = []
    trainer._captured = Captured(
        trainer._compute, list, trainer._number.device, lambda _body: lambda: replays.append(1)
    )
    plan = samples.plans(32, 0.4, training, attack)[0]
    trainer.begin(plan)
    trainer.step(0)
    assert len(replays) == 1
    trainer._classifier.native.conv2.register_forward_hook(lambda *_: heard.append(1))
    trainer.step(1)
    assert len(replays) == 1
    assert heard


def test_a_training_whose_steps_are_captured_is_the_same(backend: Backend) -> None:
    """The step reads and writes static tensors alone: a recorder that runs it again stands for CUDA's graphs."""
    from sat_torch.graphs import Captured

    states = []
    for captures in (False, True):
        data, training = samples.examples(64, whole=True), samples.training(batch_size=16, augmentation="crop-flip")
        attack = samples.attack(random_start=True, steps=2)
        trainer: Any = backend.trainer(samples.build(backend, "small-cnn"), data, training, attack)
        trainer._padded = True
        if captures:
            trainer._captured = Captured(trainer._compute, trainer._changing, trainer._number.device, lambda body: body)
        losses = samples.train(trainer, samples.plans(64, 0.4, training, attack))
        assert not captures or trainer._captured.works
        states.append({**trainer._classifier.state(), **trainer.state(), "losses": losses})
    assert all(np.array_equal(states[1][name], value) for name, value in states[0].items())


OPTIONAL = (
    "TRADES",
    "label smoothing and class weights",
    "attack on the margin",
    "N-FGSM",
    "Free-AT",
    "restarts",
    "ε warm-up",
    "EMA",
    "clipping",
    "micro-batches",
    "CutMix",
    "AWP with TRADES",
    "hardest of each batch",
)


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_every_option_is_captured_and_reads_nothing_from_the_device(backend: Backend, precision: str) -> None:
    """Whatever changes from step to step is read from tensors: a replay repeats operations, and no Python."""
    from replays import record

    from sat_torch.graphs import Captured

    options = OPTIONAL if precision == "float32" else ("TRADES", "Free-AT", "clipping", "AWP")
    for name in options:
        states = []
        for captures in (False, True):
            made, plans = OPTIONS[name].trainer(backend, samples.build(backend, "small-cnn"), precision=precision)
            trainer: Any = made
            trainer._padded = not trainer._learning.pairs
            if captures:
                device = trainer._number.device
                trainer._captured = Captured(trainer._capturable, trainer._changing, device, record)
            losses = samples.train(trainer, plans[:2])
            if captures:
                assert trainer._captured.works, name
                # sizes come again, or nothing would be replayed
                assert len(trainer._captured._replays) < 2 * plans[0].steps
            else:
                with counting() as mode:
                    trainer.step(0)
                assert sum(mode.calls.get(read, 0) for read in READS) == 0, (name, mode.calls)
                trainer, _ = OPTIONS[name].trainer(backend, samples.build(backend, "small-cnn"), precision=precision)
                trainer._padded = not trainer._learning.pairs
                losses = samples.train(trainer, plans[:2])
            states.append({**trainer._classifier.state(), **trainer.state(), "losses": losses})
        for key, value in states[0].items():
            np.testing.assert_array_equal(states[1][key], value, f"{name}: {key}")
