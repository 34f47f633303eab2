"""Measure how far the two backends differ and write a page: python benchmarks/parity.py docs/parity.md [FOLDER]

Studies in FOLDER (by default runs/parity) are continued; finished ones are read.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sat_core import DataSet, Study, get_backend, get_dataset
from sat_core.backend import Backend
from sat_core.files import read_json
from sat_core.run_folder import RunFolder
from sat_core.testing import PARITY
from sat_core.testing.parity import ranking_difference
from sat_core.training_spec import TrainingSpec
from sat_evaluation.run.studies import run_study

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits.toml"
NAMES = ("torch", "tensorflow")
SEEDS = (0, 1, 2)
MEAN, SINGLE = 4.0, 8.0
"""Largest differences of robust accuracy, in points: of the mean over seeds, and of any single arm.
"""

PAGE = """\
# Parity of the backends

{verdict}

Seed, example order, augmentation and initial weights are the same in both; what is left is the order in which
floating-point numbers are added. Every row compares PyTorch with TensorFlow through `sat_core.backend` alone, in one
process.

{rows}

Losses, weights and statistics are relative to the largest number in each array. The rows on steps and attacks are for
networks that are not saturated: where p(label) rounds to 1 in float32, the gradient of the cross-entropy is rounding
error, and its direction is not the same in any two programs.

`sat_core.testing.backend_checks()` measures the same rows against the numpy reference, so that each backend proves its
part where the other is not installed. `tox -e cross` measures them side by side.

## The digits study

`examples/digits.toml` with training.seed = 0, 1, 2: {arms} arms on each backend, standard AutoAttack on 200 examples of
each. Robust accuracy in %:

{study}

The split is the same where A is random or everything; the hardest examples follow from a ranking that each backend
trained for itself. Two runs of *one* backend that round differently are up to five points apart at |A| = 10 %, and 200
examples resolve half a point.

Measured on {date} with `make parity`, on {versions}, CPU, one thread.
"""


def table(head: tuple[str, ...], lines: list[tuple[Any, ...]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (head, ("---",) * len(head), *lines))


def fixed_rows(both: list[Backend], data: DataSet) -> list[tuple[str, str, float, float]]:
    """Return rows of the parity table: what is compared, the tolerance in words, the measured value, the limit."""
    rows = [(row.what, row.tolerance, row.measure(*both), row.limit) for row in PARITY.values()]
    order, missing = ranking_difference(*both, data.train)
    ranking = (PARITY["order_of_the_ranking"], PARITY["hardest_of_the_ranking"])
    return rows + [
        (f"{row.what}, of the digits", row.tolerance, value, row.limit)
        for row, value in zip(ranking, (order, missing), strict=True)
    ]


def flags_row(both: list[Backend], data: DataSet, study: Path) -> tuple[str, str, float, float]:
    """Compare AutoAttack's flags on the arm that PyTorch trained with half of the examples in A."""
    arm = next(arm for arm in RunFolder(study).arms if "size-0.5" in arm.name)
    index = np.array(read_json(arm.split_file)["report"])
    images, labels = data.test.images[index], data.test.labels[index]
    one, other = (
        backend.evaluate(backend.load(arm.best_checkpoint), images, labels, norm="L2", eps=0.5) for backend in both
    )
    differ = float((one.robust != other.robust).mean())
    return f"AutoAttack's flags of one checkpoint, {len(index)} examples", "at most 1 % differ", differ, 0.01


def study_rows(folder: Path) -> tuple[list[tuple[Any, ...]], float, float, int]:
    """Return a line per |A|, the largest difference of means and of single arms, and the number of arms."""
    study = Study.load(EXAMPLE).set({"training.seed": list(SEEDS)})
    robust: dict[str, dict[float, list[float]]] = {}
    for name in NAMES:
        robust[name] = {}
        results = run_study(study, folder / name, backend=name)
        for arm, result in zip(study.arms, results, strict=True):
            value = 100 * result.robust_accuracy.value
            robust[name].setdefault(float(arm.spec.subset.size), []).append(value)
    lines, means, singles = [], [], []
    for size, torch in robust["torch"].items():
        tensorflow = robust["tensorflow"][size]
        means.append(abs(np.mean(torch) - np.mean(tensorflow)))
        singles.append(np.abs(np.subtract(torch, tensorflow)).max())
        cells = (f"{np.mean(v):.1f} ({', '.join(f'{x:.1f}' for x in v)})" for v in (torch, tensorflow))
        lines.append((f"{size:.0%}", *cells, f"{means[-1]:.1f}", f"{singles[-1]:.1f}"))
    return lines, float(max(means)), float(max(singles)), len(study.arms)


def main() -> None:
    """Measure, write the page and print it. Rows that do not hold are listed at the top; they fail nothing."""
    target, folder = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "runs/parity")
    data, both = get_dataset("digits"), [get_backend(name) for name in NAMES]
    for backend in both:
        backend.session(TrainingSpec(epochs=1, threads=1)).__enter__()
    lines, mean, single, arms = study_rows(folder)
    rows = [*fixed_rows(both, data), flags_row(both, data, folder / "torch")]
    rows += [
        ("digits study, mean over 3 seeds, at every share of A", f"at most {MEAN:.0f} points", mean, MEAN),
        ("digits study, any one arm", f"at most {SINGLE:.0f} points", single, SINGLE),
    ]
    broken = [what for what, _, value, limit in rows if not value <= limit]
    text = PAGE.format(
        verdict=f"**{len(broken)} of {len(rows)} rows do not hold: {'; '.join(broken)}.**"
        if broken
        else f"All {len(rows)} rows hold.",
        rows=table(
            ("what", "tolerance", "limit", "measured"),
            [(what, says, f"{limit:g}", f"{value:.2g}") for what, says, value, limit in rows],
        ),
        study=table(("share in A", "PyTorch, mean (seeds)", "TensorFlow, mean (seeds)", "apart", "one arm"), lines),
        arms=arms,
        date=datetime.now(UTC).date(),
        versions=", ".join(f"{k} {v}" for b in both for k, v in b.versions().items()),
    )
    target.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
