"""The GPUs of this machine: which there are, and which of them a process may use."""

from __future__ import annotations

import os
import shutil
import subprocess

from sat_core.errors import SpecError


def gpus() -> list[str]:
    """Return the GPUs of this process, as CUDA_VISIBLE_DEVICES names them; without it, all of the machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    # by UUID: nvidia-smi and CUDA may number the GPUs of a machine differently
    return [line.strip() for line in _asked("uuid") or [] if line.strip()]


def take_card() -> None:
    """Make this rank see one GPU: that with its number among those of the machine. For before a framework is imported.

    Raises:
        SpecError: The machine has too few for the ranks on it.
    """
    rank, ranks = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    # Without nvidia-smi nobody knows how many there are, and the framework says if there are too few.
    cards = gpus() or [str(number) for number in range(ranks)]
    if len(cards) < ranks:
        raise SpecError(too_few(ranks, len(cards)))
    os.environ["CUDA_VISIBLE_DEVICES"] = cards[rank]


def too_few(devices: int, cards: int) -> str:
    """Return the message for more devices than there are GPUs."""
    return (
        f"--devices: expected at most {cards}, the number of GPUs that nvidia-smi or CUDA_VISIBLE_DEVICES names here, "
        f"got {devices}"
    )


def _asked(what: str) -> list[str] | None:
    """Return what nvidia-smi says of each GPU, None if it is missing or fails."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.splitlines() if done.returncode == 0 else None
