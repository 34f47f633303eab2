"""One training on several ranks, each of them a worker of a `tf.distribute.MultiWorkerMirroredStrategy`.

Each rank has variables of its own, which are the same on all: rank 0 hands out its own before the first step, and every
rank makes the same step with the same sums. So the network of a training is used as it is, whoever built it.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from sat_core.process_group import ProcessGroup


@cache
def strategy_of(group: ProcessGroup, gpu: bool) -> Any:
    """Return the strategy of this process, which all ranks make at once; TensorFlow has one per process.

    It starts TensorFlow, whose threads and kernels are chosen before.

    Args:
        group: All ranks.
        gpu: Whether this rank computes on a GPU, the only one that it sees.
    """
    with socket.socket() as free:
        free.bind(("", 0))
        # every port is held until all are known: those of one machine are different ones
        ranks = group.gather((socket.gethostname(), _start_of_machine(), free.getsockname()[1]))
    one_machine = len({rank[:2] for rank in ranks}) == 1
    addresses = [f"{'127.0.0.1' if one_machine else host}:{port}" for host, _, port in ranks]
    distribute = tf.distribute.experimental
    kinds = distribute.CommunicationImplementation
    # what the variable TF_CONFIG would say, which processes that are started from here would read, too
    workers = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": addresses}),
        task_type="worker",
        task_id=group.rank,
        num_accelerators={"GPU": 1} if gpu else {},
        rpc_layer="grpc",
    )
    options = distribute.CommunicationOptions(implementation=kinds.NCCL if gpu else kinds.RING)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(workers, options)
    # TensorFlow now listens to SIGTERM itself, and tells nobody: the listener of this process gets it back
    listener = signal.getsignal(signal.SIGTERM)
    with suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, listener if listener is not None else signal.SIG_DFL)
    return strategy


def _start_of_machine() -> str:
    """Return what Linux drew when this machine started: two may have the same name."""
    drawn = Path("/proc/sys/kernel/random/boot_id")
    return drawn.read_text() if drawn.exists() else ""


def summed(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return the sums of tensors over all ranks, in one exchange for each type; None where there is no tensor.

    To be called in what a strategy runs, and by all ranks.
    """
    # gradients of embeddings and gathers come as IndexedSlices, which are made dense here; an exchange asks for a
    # device, on which arguments of a graph are not, but copies of them are
    sums = [None if tensor is None else tf.identity(tf.convert_to_tensor(tensor)) for tensor in tensors]
    for dtype in dict.fromkeys(tensor.dtype for tensor in sums if tensor is not None):
        places = [place for place, tensor in enumerate(sums) if tensor is not None and tensor.dtype == dtype]
        # a list is packed into one tensor
        parts = tf.distribute.get_replica_context().all_reduce("SUM", [sums[place] for place in places])
        for place, part in zip(places, parts, strict=True):
            sums[place] = part
    return sums


def of_all_ranks(tensor: Tensor) -> Tensor:
    """Return the tensors of all ranks, `(ranks, …)`; see `summed`."""
    context = tf.distribute.get_replica_context()
    rank, ranks = context.replica_id_in_sync_group, context.num_replicas_in_sync
    (rows,) = summed([tf.stack([tf.where(rank == other, tensor, tf.zeros_like(tensor)) for other in range(ranks)])])
    return rows


def take_from_first(model: keras.Model) -> None:
    """Give all ranks the statistics that the first one has; see `summed`.

    They differ where BatchNorm takes those of a share, or where a layer of a user's own keeps an average of its inputs.
    """
    kept = [v for v in model.non_trainable_variables if tf.as_dtype(v.dtype).is_floating]
    first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
    values = summed([tf.where(first, v.value, tf.zeros_like(v.value)) for v in kept])
    for variable, value in zip(kept, values, strict=True):
        variable.assign(value)


@contextmanager
def as_rank(model: keras.Model, rank: int, *, synchronised: bool) -> Iterator[None]:
    """Inside, the training forward of `model` is traced as that of one rank; afterwards it is as it was.

    Layers that draw, such as dropout, draw for other examples on each rank, so they draw other numbers.

    Args:
        model: Ours or a user's.
        rank: From 0, which draws as a process alone would.
        synchronised: Whether BatchNorm takes the statistics of the batches of all ranks.
    """
    layers = model._flatten_layers()
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    generators = [generator for layer in layers for generator in layer._seed_generators]
    before = [layer.synchronized for layer in norms]
    try:
        for layer in norms:
            layer.synchronized = synchronised
        for generator in generators:
            # a generator may belong to several layers; an attribute of the object comes before its class's method
            generator.next = partial(_drawn, type(generator).next.__get__(generator), rank)
        yield
    finally:
        for layer, own in zip(norms, before, strict=True):
            layer.synchronized = own
        for generator in generators:
            vars(generator).pop("next", None)


def _drawn(draw: Callable[..., Tensor], rank: int, *arguments: Any, **options: Any) -> Tensor:
    """Draw the seed of a rank. The generator itself goes on as on every other rank, as its state is saved once."""
    seed = draw(*arguments, **options)
    return seed + tf.cast([rank, 0], seed.dtype)
