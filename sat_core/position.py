"""How far a training is: what its checkpoint says besides weights and the state of the optimiser."""

from __future__ import annotations

import attrs


@attrs.define
class Position:
    """How far a training is, and what it has counted; saved in the checkpoint as JSON.

    Attributes:
        epoch, step: Of the next step, from 0.
        losses: Mean loss of each finished epoch.
        loss_sum: Sum of the losses of the unfinished epoch.
        attack_gradients, training_gradients: Gradient evaluations, counted in examples.
        gradients: Both together, up to the end of each finished epoch.
        selection_forwards: Forward evaluations by which members of A were chosen, counted in examples.
        pgd_accuracy, gradient_alignment: Of `PROBE` members of A after each epoch of single-step training.
        watched: Clean and robust accuracy after each epoch, see `sat_core.watch`; empty where nothing is watched.
        devices: Numbers of devices that have trained, one after the other.
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = attrs.Factory(list)
    loss_sum: float = 0.0
    attack_gradients: int = 0
    training_gradients: int = 0
    gradients: list[int] = attrs.Factory(list)
    selection_forwards: int = 0
    pgd_accuracy: list[float] = attrs.Factory(list)
    gradient_alignment: list[float] = attrs.Factory(list)
    watched: list[tuple[float, float]] = attrs.Factory(list)
    devices: list[int] = attrs.Factory(list)
