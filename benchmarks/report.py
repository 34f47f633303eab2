"""Write benchmark results as a page: python benchmarks/report.py docs/benchmarks.md RESULTS.json ..."""

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
Machine: {cpu}, {cores} cores, {system}; one thread, and two for G1, G10 and G13. {sharing}
Versions: {versions}.

Every number is a ratio of two things that ran in turn on the same machine: the median over the repeats, and the middle
half of them. A result is called narrow if its limit lies within that half. *Time* is the median of one call of what is
measured, for scale only. The recorder, and TensorFlow beside PyTorch, are timed in CPU seconds, which leave out the
turns that other programs take; all else in seconds of the clock.

A SAT step is held against what it would cost if the attack cost in proportion to |A|: clean step + share of A x full
attack. The fewer images are attacked, the further above that it lies: before each attack the weights of layers are
put in order for the processor, and at every step of PGD all of them are read, for one image as for many. G1 is judged
with batches of 64; the recipe's are 128. Batches of 16 have a limit to compare with.

G2 is judged with memory handled as it is by default. A good part of scipy's time then goes into fetching memory for its
large temporary arrays, which the recorder does not make. In a process that keeps freed memory scipy is faster, and the
recorder's lead smaller.

G10 gives every package the same network, batch, radius, number and length of steps and two threads, BatchNorm in
evaluation mode during the attack, no random start, and the same SGD step after it. All attacks have to reach the same
loss within 1 %, or the benchmark fails. The fastest peer is the one whose median is lowest; its name is in the row.
Nearly all of a step is convolutions, which are PyTorch's own and the same for everyone; what folding BatchNorm saves
are passes over memory. How much that is depends on the processor: two machines had 1.1 and 1.34.

G13 counts the same attacks on the same examples. The engine `package` runs AutoAttack's code on the network itself, so
that adversarial examples are the package's bit by bit; it can save little, and what it saves are gradients of weights.
`folded` and `fast` attack the network with BatchNorm folded, and `fast` stops where a search gets nowhere; see
[study.md](study.md).

No GPU was at hand: `benchmarks/gpu.py` has been run on a CPU with `--smoke` only.

What each measure is, and how to run it: [benchmarks/README.md](../benchmarks/README.md).
"""
HEAD = ("goal", "measure", "limit", "ratio", "middle half", "repeats", "result", "time")


def verdict(row: dict[str, Any]) -> str:
    """Return "met" or "missed", "narrowly" if the limit lies within the spread; a dash where there is no limit."""
    limit = row["limit"]
    if limit is None:
        return "–"
    met = row["ratio"] <= limit if row["sense"] == "at most" else row["ratio"] >= limit
    return ("met" if met else "missed") + (", narrowly" if row["low"] < limit < row["high"] else "")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the table."""
    return (
        row["goal"] or "–",
        row["measure"] + (f" ({row['note']})" if row["note"] else ""),
        "–" if row["limit"] is None else f"{row['sense']} {row['limit']:.2f}",
        f"{row['ratio']:.2f} {row['unit']}",
        f"{row['low']:.2f} to {row['high']:.2f}",
        str(row["repeats"]),
        verdict(row),
        f"{1e3 * row['seconds']:.0f} ms",
    )


def order(row: dict[str, Any]) -> float:
    """Return a key that sorts rows by the number of their goal; rows without one come last."""
    return float(row["goal"][1:] or "inf")


def page(*runs: dict[str, Any]) -> str:
    """Return the page in Markdown; several runs were made one after another."""
    rows = [row for run in runs for benchmark in run["benchmarks"] for row in benchmark["extra_info"]["rows"]]
    rows.sort(key=order)
    judged = [row for row in rows if row["goal"]]
    missed = [f"{row['goal']}, {row['measure']}" for row in judged if verdict(row).startswith("missed")]
    machine = runs[0]["machine_info"]
    share = machine["core_share"]
    shared = f"Other programs computed beside it: the benchmarks had {share:.0%} of a core."
    return PAGE.format(
        verdict=f"**{len(missed)} of {len(judged)} goals missed: {'; '.join(missed)}.**"
        if missed
        else f"All {len(judged)} goals met.",
        table="\n".join(f"| {' | '.join(line)} |" for line in (HEAD, ("---",) * len(HEAD), *map(cells, rows))),
        date=runs[-1]["datetime"][:10],
        minutes=sum(run["machine_info"]["minutes"] for run in runs),
        cpu=machine["cpu"].get("brand_raw", machine["machine"]),
        cores=machine["cpu"]["count"],
        system=f"{machine['system']} {machine['machine']}",
        sharing=shared if share < 0.9 else "It had a core to itself.",
        versions=", ".join(
            f"{name} {number}" for name, number in ({"Python": machine["python_version"]} | machine["versions"]).items()
        ),
    )


def main() -> None:
    """Write the page and print it. A missed goal is reported and fails nothing, because machines differ."""
    target, *sources = map(Path, sys.argv[1:])
    text = page(*(json.loads(source.read_text()) for source in sources))
    target.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
