"""Benchmark results as a page: python benchmarks/report.py results.json docs/benchmarks.md"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = """\
# Benchmarks

{verdict}

{table}

Measured on {date} with `make bench-report`, in {minutes:.0f} minutes.
Machine: {cpu}, {cores} cores, {system}; one thread. {sharing}
Versions: {versions}.

Every number is a ratio of two things that ran in turn on the same machine: the median over the repeats, and in brackets
the middle half of them. *Time* is the median of one call of what is measured, for scale only. Training steps and the
recorder are timed in CPU seconds, which leave out the turns that other programs take; start-up in seconds of the clock.

The smaller a batch, the dearer the attack per image: at every step of PGD, PyTorch rearranges the weights of each
convolution for the processor, for one image as for many. The goals of G1 are held against batches of 48, the largest
that a report of this length allows. At the recipe's 128 the ratios are lower; at 16 they are higher, as shown.

What each measure is, and how to run it: [benchmarks/README.md](../benchmarks/README.md).
"""
HEAD = ("goal", "measure", "limit", "measured", "result", "time")


def verdict(row: dict[str, Any]) -> str:
    """``met`` or ``missed``; a dash where there is no goal."""
    if row["limit"] is None:
        return "–"
    better = row["ratio"] <= row["limit"] if row["sense"] == "at most" else row["ratio"] >= row["limit"]
    return "met" if better else "missed"


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    limit = "none" if row["limit"] is None else f"{row['sense']} {row['limit']:.2f}"
    measured = f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f}; {row['repeats']} repeats) {row['unit']}"
    return row["goal"] or "–", row["measure"], limit, measured, verdict(row), f"{1e3 * row['seconds']:.3g} ms"


def page(results: dict[str, Any]) -> str:
    """The page, in Markdown."""
    rows = [b["extra_info"] | {"seconds": b["stats"]["median"]} for b in results["benchmarks"]]
    rows.sort(key=lambda row: row["goal"] or "–")
    judged = [verdict(row) for row in rows if row["limit"] is not None]
    missed = [f"{row['goal']}, {row['measure']}" for row in rows if verdict(row) == "missed"]
    machine = results["machine_info"]
    share = machine["core_share"]
    shared = f"Other programs computed beside it: the benchmarks had {share:.0%} of a core."
    return PAGE.format(
        verdict=f"**{len(missed)} of {len(judged)} goals missed: {'; '.join(missed)}.**"
        if missed
        else f"All {len(judged)} goals met.",
        table="\n".join(f"| {' | '.join(line)} |" for line in (HEAD, ("---",) * len(HEAD), *map(cells, rows))),
        date=results["datetime"][:10],
        minutes=machine["minutes"],
        cpu=machine["cpu"]["brand_raw"],
        cores=machine["cpu"]["count"],
        system=f"{machine['system']} {machine['machine']}",
        sharing=shared if share < 0.9 else "Nothing else computed beside it.",
        versions=", ".join(
            f"{name} {number}" for name, number in ({"Python": machine["python_version"]} | machine["versions"]).items()
        ),
    )


def main() -> None:
    """Write the page and print it. A missed goal is said, not failed on: machines differ."""
    source, target = map(Path, sys.argv[1:])
    text = page(json.loads(source.read_text()))
    target.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
