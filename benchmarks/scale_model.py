"""How long a training step takes on n devices: a model with few inputs, for machines that are not at hand.

Nothing is fitted: what a device does is in proportion to its images, or as long as its operations take at least, and
the rest is what NCCL's ring all-reduce has to carry. docs/scale.md says where the inputs come from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a step of one network costs on one device.

    Attributes:
        gradient_bytes: Of all gradients together, float32.
        norms: Layers of BatchNorm.
        clean: Seconds per image, forward and backward.
        attack: Seconds per image and step of the attack: forward, and backward to the images only.
        clean_launches: Operations of a clean step, however many images it has.
        attack_launches: Operations of a step of the attack.
    """

    gradient_bytes: int
    norms: int
    clean: float
    attack: float
    clean_launches: int
    attack_launches: int


@dataclass(frozen=True, kw_only=True)
class Links:
    """What connects devices.

    Attributes:
        latency: Seconds of an all-reduce of next to nothing.
        bandwidth: Of the bus, as NCCL's tests give it, in bytes per second.
    """

    latency: float
    bandwidth: float


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Machines with some devices each.

    Attributes:
        devices: In a machine.
        inside: Links within a machine.
        between: Links of all devices of several machines.
        exchange: Seconds of the exchange between hosts, by which rank 0 tells each step.
        launch: Seconds that the host takes for an operation of a training step on several devices.
        replay: Seconds that an operation takes at least in a CUDA graph: a step on one device, and every attack.
        overlap: Part of the backward pass during which gradients can be summed up.
    """

    devices: int
    inside: Links
    between: Links
    exchange: float
    launch: float
    replay: float
    overlap: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """Seconds of a step, on the device that takes longest.

    Attributes:
        clean: Forward and backward, or their launches where these take longer.
        attack: The same of the attack.
        norms: Exchanges of BatchNorm, for each of which all devices wait.
        gradients: What is left of summing up gradients when the backward pass ends.
        exchange: Between the hosts.
    """

    clean: float
    attack: float
    norms: float
    gradients: float
    exchange: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.clean + self.attack + self.norms + self.gradients + self.exchange


def all_reduce(size: float, devices: int, links: Links) -> float:
    """Return the seconds of a ring all-reduce, each device of which sends and receives 2(n - 1)/n of `size` bytes."""
    return 0.0 if devices == 1 else links.latency + 2 * (devices - 1) / devices * size / links.bandwidth


def step(network: Network, cluster: Cluster, *, batch: int, share: float, steps: int, devices: int) -> Step:
    """Return what a training step takes.

    Args:
        network: What is trained.
        cluster: Where.
        batch: Images of all devices together, a multiple of `devices`.
        share: Of the batch in A.
        steps: Of the attack.
        devices: Number of devices.
    """
    links = cluster.inside if devices <= cluster.devices else cluster.between
    launch = cluster.launch if devices > 1 else cluster.replay
    images = batch // devices
    # Members are dealt evenly: no device has more than one above the others, and all wait for it.
    members = -(-round(share * batch) // devices)
    clean = max(images * network.clean, launch * network.clean_launches)
    attack = max(members * network.attack, cluster.replay * network.attack_launches) if members else 0.0
    # Two thirds of a clean step are its backward pass.
    hidden = cluster.overlap * clean * 2 / 3
    return Step(
        clean=clean,
        attack=steps * attack,
        # Forward statistics, backward two sums, a few kilobytes each.
        norms=2 * network.norms * links.latency if devices > 1 else 0.0,
        gradients=max(0.0, all_reduce(network.gradient_bytes, devices, links) - hidden),
        exchange=cluster.exchange if devices > 1 else 0.0,
    )


def efficiency(network: Network, cluster: Cluster, *, batch: int, share: float, steps: int, devices: int) -> float:
    """Return the speed with `devices` divided by that many times the speed of one; arguments as of `step`."""
    one, many = (step(network, cluster, batch=batch, share=share, steps=steps, devices=n).seconds for n in (1, devices))
    return one / (devices * many)


def pays_up_to(network: Network, cluster: Cluster, *, batch: int, share: float, steps: int, most: int) -> int:
    """Return the largest power of two, up to `most`, with an efficiency of a half or more; arguments as of `step`.

    Beyond it, twice as many devices would gain next to nothing for one arm, and are better spent on several.
    """
    number = 1
    while 2 * number <= min(most, batch):
        if efficiency(network, cluster, batch=batch, share=share, steps=steps, devices=2 * number) < 0.5:
            break
        number *= 2
    return number


# Bytes, layers and operations are those of our networks, the seconds those of an A100: see docs/scale.md.
RESNET18 = Network(
    gradient_bytes=44_695_848,
    norms=20,
    clean=1 / 23_000,
    attack=2 / 3 / 23_000,
    clean_launches=186,
    attack_launches=99,
)
RESNET50 = Network(
    gradient_bytes=95_671_328,
    norms=53,
    clean=1 / 2_600,
    attack=2 / 3 / 2_600,
    clean_launches=466,
    attack_launches=247,
)
A100S = Cluster(
    devices=8,
    inside=Links(latency=20e-6, bandwidth=240e9),
    between=Links(latency=68e-6, bandwidth=92e9),
    exchange=0.3e-3,
    launch=10e-6,
    replay=2e-6,
    overlap=0.75,
)
