"""G23: two processes that share a training step, and an AutoAttack, against one; and the model for many devices."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scale
from measure import record
from scale_model import A100S, RESNET18, RESNET50, Cluster, Links, Network, all_reduce, efficiency, pays_up_to, step

NETWORK = Network(gradient_bytes=8000, norms=3, clean=0.01, attack=0.004, clean_launches=10, attack_launches=5)
CLUSTER = Cluster(
    devices=4,
    inside=Links(latency=0.001, bandwidth=4000),
    between=Links(latency=0.002, bandwidth=1000),
    exchange=0.005,
    launch=0.0005,
    replay=0.0001,
    overlap=0.5,
)


@pytest.mark.parametrize("work", ["pgd", "autoattack"])
@pytest.mark.benchmark(timer=time.perf_counter)
def test_two_processes(benchmark: Any, work: str) -> None:
    """One thread each; processes are started anew for each round, and time is counted from where they begin to work."""
    smoke = benchmark.disabled
    # Each start loads PyTorch, and a smoke round has to be short.
    processes = (2,) if smoke else (1, 2)
    rounds: list[list[tuple[float, float]]] = []
    benchmark.pedantic(lambda: rounds.append([scale.seconds(work, n, smoke=smoke) for n in processes]), rounds=5)
    assert np.isfinite(rounds).all()
    if not smoke:
        one, two = np.array(rounds)[:, :, 0].T
        record(benchmark, f"two-processes-{work}", one / two, seconds=float(np.median(two)))


def test_one_device_has_no_overhead() -> None:
    taken = step(NETWORK, CLUSTER, batch=8, share=0.5, steps=2, devices=1)
    assert (taken.clean, taken.attack) == pytest.approx((8 * 0.01, 2 * 4 * 0.004))
    assert taken.seconds == taken.clean + taken.attack
    assert efficiency(NETWORK, CLUSTER, batch=8, share=0.5, steps=2, devices=1) == 1


def test_two_devices_by_hand() -> None:
    # 3 of 8 in A: one of the devices has two of them
    taken = step(NETWORK, CLUSTER, batch=8, share=0.375, steps=2, devices=2)
    assert (taken.clean, taken.attack) == pytest.approx((4 * 0.01, 2 * 2 * 0.004))
    assert taken.norms == pytest.approx(2 * 3 * 0.001)
    # each sends 2 · 1/2 · 8000 bytes; half of two thirds of a clean step hides a part
    assert taken.gradients == pytest.approx(0.001 + 8000 / 4000 - 0.5 * 0.04 * 2 / 3)
    assert taken.exchange == 0.005
    assert taken.seconds == pytest.approx(0.04 + 0.016 + 0.006 + 2.001 - 0.04 / 3 + 0.005)


def test_latency_is_all_where_nothing_else_costs() -> None:
    idle = replace(NETWORK, gradient_bytes=0, clean=0.0, attack=0.0, clean_launches=0, attack_launches=0)
    for devices, latency in ((2, 0.001), (4, 0.001), (8, 0.002)):
        taken = step(idle, replace(CLUSTER, exchange=0.0), batch=8, share=0.5, steps=2, devices=devices)
        assert taken.seconds == pytest.approx((2 * 3 + 1) * latency)
    perfect = Links(latency=0.0, bandwidth=np.inf)
    free = replace(CLUSTER, inside=perfect, between=perfect, exchange=0.0, launch=0.0, replay=0.0)
    assert efficiency(NETWORK, free, batch=64, share=0.5, steps=7, devices=32) == pytest.approx(1)


def test_few_images_take_as_long_as_their_operations() -> None:
    taken = step(NETWORK, replace(CLUSTER, launch=0.004), batch=8, share=0.125, steps=3, devices=8)
    assert taken.clean == pytest.approx(10 * 0.004)
    # one device has a member, which costs more than its operations in a graph; all wait
    assert taken.attack == pytest.approx(3 * 0.004)
    assert step(NETWORK, CLUSTER, batch=8, share=0.0, steps=3, devices=8).attack == 0
    slow = replace(CLUSTER, replay=0.002)
    assert step(NETWORK, slow, batch=8, share=0.125, steps=3, devices=8).attack == pytest.approx(3 * 5 * 0.002)


def test_a_ring_carries_each_byte_almost_twice() -> None:
    links = Links(latency=0.5, bandwidth=10)
    assert [all_reduce(100, n, links) for n in (1, 2, 4, 8)] == pytest.approx([0, 10.5, 15.5, 18])


@pytest.mark.parametrize(("network", "batch"), [(RESNET18, 128), (RESNET18, 1024), (RESNET50, 256), (RESNET50, 1024)])
@pytest.mark.parametrize(("share", "steps"), [(0.0, 0), (0.1, 7), (1.0, 7)])
def test_more_devices_are_used_less_and_better_links_more(
    network: Network, batch: int, share: float, steps: int
) -> None:
    case: dict[str, Any] = {"batch": batch, "share": share, "steps": steps}
    used = [efficiency(network, A100S, devices=2**k, **case) for k in range(7)]
    assert used[0] == 1
    assert used == sorted(used, reverse=True)
    wide = replace(A100S, between=A100S.inside)
    assert efficiency(network, wide, devices=64, **case) > used[-1]
    assert efficiency(network, replace(A100S, overlap=0.0), devices=64, **case) <= used[-1]
    most = pays_up_to(network, A100S, most=64, **case)
    assert used[most.bit_length() - 1] >= 0.5
    assert most == 64 or used[most.bit_length()] < 0.5
    # the attack needs no exchange: the more is attacked, the longer devices work between two of them
    assert efficiency(network, A100S, devices=8, batch=batch, share=1.0, steps=7) >= used[3]
