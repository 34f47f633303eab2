"""The GPUs of this machine: which there are, and which of them a process may use."""

from __future__ import annotations

import os
import shutil
import subprocess

from sat_core.errors import SpecError

GPU_MEMORY = "SAT_GPU_MEMORY"
"""Environment variable with the bytes of its GPU that a unit may use, where several share it."""
_USABLE = 0.9
"""Share of a GPU's memory that units get which share it; the rest is for what each process keeps of its own."""


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
    if not cards:
        return (
            f"--devices: expected GPUs, and neither nvidia-smi nor CUDA_VISIBLE_DEVICES names one here, got {devices}"
        )
    return (
        f"--devices: expected at most {cards}, the number of GPUs that nvidia-smi or CUDA_VISIBLE_DEVICES names here, "
        f"got {devices}"
    )


def memory_shares(cards: list[str], units: int) -> list[int]:
    """Return the bytes that each of several units may use of each GPU, if they share it.

    Args:
        cards: As `gpus` returns them.
        units: On each GPU.

    Raises:
        SpecError: The memory of a GPU is not known, or in use.
    """
    shares = []
    for card in cards:
        lines = _asked("memory.free,memory.total", card)
        try:
            free, total = (int(text) for text in (lines or [])[0].split(","))
        except (IndexError, ValueError):
            raise SpecError(
                f"--jobs-per-device: expected nvidia-smi to tell the memory of GPU {card}, and it does not\n"
                "take one arm for each GPU"
            ) from None
        if free < _USABLE * total:
            raise SpecError(
                f"--jobs-per-device: expected {_USABLE * total / 1024:.1f} GiB free on GPU {card}, got "
                f"{free / 1024:.1f} of {total / 1024:.1f}\n"
                "end what runs there, or take other GPUs by CUDA_VISIBLE_DEVICES"
            )
        shares.append(int(_USABLE * total * 2**20 / units))
    return shares


def _asked(what: str, card: str = "") -> list[str] | None:
    """Return what nvidia-smi says of each GPU, or of one; None if it is missing or fails. Memory is in MiB."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", *(["-i", card] if card else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.splitlines() if done.returncode == 0 else None
