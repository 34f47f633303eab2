"""What a device is called, asked without any framework."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def device_name(device: str) -> str:
    """Return the name of the processor, or of the GPU as nvidia-smi calls it; ``unknown GPU`` without nvidia-smi.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``. Of ``cuda``, the first GPU stands for all.
    """
    kind, _, number = device.partition(":")
    return _cpu() if kind == "cpu" else _gpu(int(number) if number.isdecimal() else 0)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _gpu(number: int) -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown GPU"
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown GPU"
    names = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    return names[number] if asked.returncode == 0 and number < len(names) else "unknown GPU"
