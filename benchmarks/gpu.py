"""Measure training and AutoAttack on a GPU: python benchmarks/gpu.py --out FOLDER [--minutes 9] [--data CIFAR.npz]

It needs the package with its extras `torch` and `autoattack`, and no data but for the last section. Results are written
to FOLDER after each measurement, and the same command continues. `--device cpu` measures the goals that are about CPUs;
`--smoke` runs everything on a CPU with tiny numbers.
"""

from __future__ import annotations

import argparse
import os
import platform
from functools import partial
from pathlib import Path

import gpu_attack
import gpu_correctness
import gpu_images
import gpu_profile
import gpu_recipe
import gpu_speed
import torch
from gpu_goals import goals_page
from gpu_log import Log, Section
from gpu_setup import ON_CPU, SMOKE, Bench, Size

from sat_core.backend import get_backend
from sat_core.version import VERSION

SECTIONS = {
    gpu_correctness: 0.12,
    gpu_speed: 0.17,
    gpu_attack: 0.11,
    gpu_recipe: 0.06,
    gpu_profile: 0.04,
    gpu_images: 0.5,
}
"""In the order of worth, with the share of the time that each may use; of nine minutes 65, 92, 59, 32, 22 and 270 s.
"""


def facts(bench: Bench) -> dict[str, str]:
    """Return what numbers depend on: card, versions, and whether this is a smoke round."""
    card = {"device": "CPU", "processor": platform.processor() or platform.machine(), "cores": str(os.cpu_count())}
    if bench.on_gpu:
        properties = torch.cuda.get_device_properties(bench.device)
        card = {"device": properties.name, "memory": f"{properties.total_memory / 2**30:.0f} GiB"}
        card["cuDNN"] = str(torch.backends.cudnn.version())
    versions = {"sat-core": VERSION, "Python": platform.python_version(), **bench.backend.versions()}
    return {**card, **versions, "size": "smoke" if bench.size == SMOKE else "whole"}


def main() -> None:
    """Measure, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results (default runs/gpu)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop in time, with what there is")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as an .npz, for the section on real images")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="as correctness, speed or profile (default: all)")
    parser.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: cuda)")
    parser.add_argument("--smoke", action="store_true", help="tiny numbers, on a CPU unless a device is given")
    arguments = parser.parse_args()
    names = [module.SECTION for module in SECTIONS]
    only = arguments.only or names
    if unknown := [name for name in only if name not in names]:
        parser.error(f"--only: expected some of {', '.join(names)}, got {unknown[0]}")
    backend = get_backend("torch", arguments.device or ("cpu" if arguments.smoke else "cuda"))
    bench = Bench(backend, SMOKE if arguments.smoke else ON_CPU if backend.device == "cpu" else Size())
    if bench.size == ON_CPU:
        only = [name for name in only if name in (gpu_correctness.SECTION, gpu_speed.SECTION)]
    log = Log(arguments.out, facts(bench), lambda log: goals_page(log, bench))
    sections = [
        Section(module.SECTION, share, partial(module.measurements, bench, log, *extra))
        for module, share in SECTIONS.items()
        for extra in [(arguments.data,) if module is gpu_images else ()]
        if module.SECTION in only and (module is not gpu_images or arguments.data or arguments.smoke)
    ]
    log.run(sections, 60 * arguments.minutes)
    print("\n" + log.page())
    raise SystemExit(bool(log.errors))


if __name__ == "__main__":
    main()
