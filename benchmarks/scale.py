"""How several processes share one training or attack: measured here with two, modelled for many GPUs.

``python benchmarks/scale.py docs/scale.md`` measures for a quarter of an hour, and writes the tables of that page.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from scale_model import A100S, RESNET18, RESNET50, Network, efficiency, pays_up_to, step

RANK = Path(__file__).with_name("scale_rank.py")
WORKS = {
    "clean": "step of ResNet-18, batch 64, A = ∅",
    "pgd": "step of ResNet-18, batch 64, PGD-7 on every image",
    "autoattack": "AutoAttack's APGD-CE, 100 steps, ResNet-18, 12 images, 3 at a time",
}
BEGIN, END = "<!-- measured and modelled: benchmarks/scale.py writes what follows -->", "<!-- until here -->"
_LAUNCH = (
    "import sys; from sat_evaluation.run.launch import launch_ranks; end = launch_ranks(sys.argv[2:], int(sys.argv[1]))"
)


def seconds(work: str, processes: int, *, smoke: bool = False) -> tuple[float, float]:
    """Return what rank 0 measured in a run of `scale_rank.py` by so many processes: by the clock, and of its CPU."""
    program = [str(RANK), work, "smoke" if smoke else "full"]
    ranks = ["-c", f"{_LAUNCH}; sys.exit(end.reason or end.status)", str(processes)] if processes > 1 else []
    command = [sys.executable, *ranks, *program]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    clock, cpu = map(float, done.stdout.split()[-2:])
    return clock, cpu


def ratios(work: str, rounds: int, *, smoke: bool = False) -> np.ndarray:
    """Return the seconds of one process and of two that share the work, in turn: `(rounds, 2, 2)`, clock and CPU."""
    return np.array([[seconds(work, processes, smoke=smoke) for processes in (1, 2)] for _ in range(rounds)])


def measured(rounds: int) -> list[str]:
    """Measure everything, and return it as a table."""
    lines = ["| work | one process | two | times as fast | CPU time of one / of each of two |", "|---|---|---|---|---|"]
    for work, words in WORKS.items():
        both = ratios(work, rounds)
        (one, _), (two, _) = np.median(both, axis=0)
        clock, cpu = np.median(both[:, 0] / both[:, 1], axis=0)
        lines.append(f"| {words} | {one:.2f} s | {two:.2f} s | {clock:.2f} | {cpu:.2f} |")
    return [*lines, "", f"To tell the other process of a step takes {1e3 * seconds('exchange', 2)[0]:.2f} ms."]


def modelled() -> list[str]:
    """Return the model's table."""
    lines = [
        "| network, batch | A | attack | one GPU | 8 GPUs | 64 GPUs | pays up to |",
        "|---|---|---|---|---|---|---|",
    ]
    cases: list[tuple[str, Network, tuple[int, int]]] = [
        ("ResNet-18, CIFAR-10", RESNET18, (128, 1024)),
        ("ResNet-50, ImageNet-200", RESNET50, (256, 1024)),
    ]
    for name, network, batches in cases:
        for batch in batches:
            for share, steps in ((0.0, 0), (0.1, 7), (0.5, 7), (1.0, 7)):
                lines.append(_case(name, network, batch, share, steps))
    return lines


def _case(name: str, network: Network, batch: int, share: float, steps: int) -> str:
    case = {"batch": batch, "share": share, "steps": steps}
    cells = []
    for devices in (8, 64):
        taken = step(network, A100S, devices=devices, **case).seconds  # type: ignore[arg-type]
        used = efficiency(network, A100S, devices=devices, **case)  # type: ignore[arg-type]
        cells.append(f"{1e3 * taken:.1f} ms, {devices * used:.1f} x ({used:.0%})")
    one = step(network, A100S, devices=1, **case).seconds  # type: ignore[arg-type]
    most = pays_up_to(network, A100S, most=64, **case)  # type: ignore[arg-type]
    attack = f"PGD-{steps}" if steps else "–"
    limit = f"{most} GPU{'s' * (most > 1)}"
    return f"| {name}, {batch} | {share:.0%} | {attack} | {1e3 * one:.1f} ms | {' | '.join(cells)} | {limit} |"


def main(page: Path, rounds: int = 5) -> None:
    """Measure, and replace the tables of the page."""
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    tables = "\n".join(["### Measured", "", *measured(rounds), "", "### Modelled", "", *modelled()])
    page.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
