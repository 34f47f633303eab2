"""The GPU benchmark runs on a CPU, with tiny numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_gpu(tmp_path: Path) -> None:
    """All tables are printed, and every row has a number."""
    command = [sys.executable, str(Path(__file__).with_name("gpu.py")), "--smoke"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith("|") and "---" not in line]
    assert len(rows) == 1 + 2 + 1 + 2 * 3 * 5 + 1 + 1
    assert "nan" not in done.stdout
