"""`sat evaluate`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_evaluation.cli.options import add_computing, add_import, add_slurm, slurm_options

if TYPE_CHECKING:
    from sat_core.process_group import ProcessGroup
    from sat_evaluation.run.measures import Measures
    from sat_evaluation.run.view import View

_EVALUATE = (
    "AutoAttack on a checkpoint, on weights of any program or on a network by name, for one or more ε; per-example "
    "results go to --out. Or, for the folder of a study: on its finished arms, at a level of evaluation."
)
_DEFAULTS: dict[str, Any] = {
    "data": "",
    "attacks": "",
    "norm": "",
    "eps": [],
    "examples": None,
    "batch_size": None,
    "engine": "package",
    "model": "",
    "mean": [],
    "std": [],
    "output": "",
    "threads": 1,
    "out": None,
}
"""Options of a checkpoint. A study has settings of its own."""


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    evaluate = commands.add_parser("evaluate", help="AutoAttack on a checkpoint or a study", description=_EVALUATE)
    evaluate.add_argument(
        "checkpoint",
        metavar="PATH",
        nargs="?",
        default="",
        help="checkpoint-best of an arm, with or without .safetensors; weights of any program (.pt, .safetensors, "
        ".keras, .h5); or a study's folder. Left out: the weights that --model comes with",
    )
    evaluate.add_argument(
        "--level", choices=("screening", "standard", "plus"), help="level of evaluation (default standard)"
    )
    evaluate.add_argument(
        "--arms", nargs="+", metavar="ARM", help="of a study: names or patterns, as 'size-*' (default: all)"
    )
    evaluate.add_argument("--data", help="a data set (`sat data list`); its test part is attacked; for a checkpoint")
    evaluate.add_argument("--attacks", help="names with commas, in place of --level")
    evaluate.add_argument("--norm", help="L2, Linf or a plug-in's (default: as in training)")
    evaluate.add_argument("--eps", nargs="+", metavar="E", help="one or more, as 0.5 or 8/255")
    evaluate.add_argument(
        "--grid", metavar="THREATS", help='several threat models side by side, as "Linf:4/255,8/255 L2:0.25,0.5 L1:12"'
    )
    evaluate.add_argument(
        "--calibration", action="store_true", help="confidence against accuracy: ECE, reliability plot"
    )
    evaluate.add_argument(
        "--corruptions", action="store_true", help="accuracy with noise, blur, fog, ... of the images"
    )
    evaluate.add_argument("--examples", type=int, help="how many, in a fixed random order (default: all)")
    evaluate.add_argument(
        "--batch-size",
        type=int,
        help="of the attack; part of the result (default 250; with --engine fast on a GPU, what fits)",
    )
    evaluate.add_argument(
        "--engine",
        choices=("package", "folded", "fast"),
        help="AutoAttack's package, the package on a folded copy of the model, or our own attacks",
    )
    evaluate.add_argument(
        "--model", metavar="NAME", help="the network: package.module:factory, or as timm:resnet18d?pretrained"
    )
    evaluate.add_argument("--mean", nargs="+", metavar="M", help="subtracted from [0, 1] pixels, one per channel")
    evaluate.add_argument(
        "--std", nargs="+", metavar="S", help="what is divided by then (default: nothing is normalised)"
    )
    evaluate.add_argument("--output", metavar="KEY", help="which part of what the network returns are its logits")
    evaluate.add_argument("--threads", type=int, help="of the CPU (default 1)")
    evaluate.add_argument(
        "--out", type=Path, help="folder for per-example results (default: evaluate, beside PATH or here)"
    )
    evaluate.add_argument(
        "--devices", type=int, default=1, metavar="N", help="of one machine, each of which attacks a batch (1)"
    )
    evaluate.add_argument("--nodes", type=int, default=1, help="machines of the job, with N devices each (1)")
    # of the command that a job runs: where it leaves what whoever waits for it reads
    evaluate.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    add_import(evaluate)
    add_computing(evaluate)
    add_slurm(evaluate)
    # last, because it replaces the device's default: a study's is that which trained it
    evaluate.set_defaults(run=_evaluate, device=None, **_DEFAULTS)


def _evaluate(arguments: argparse.Namespace) -> int:
    from sat_core.errors import SpecError
    from sat_core.process_group import ALONE
    from sat_core.run_folder import RunFolder
    from sat_evaluation.cli.evaluation_job import as_job, submit
    from sat_evaluation.cli.evaluation_ranks import as_rank, on_devices
    from sat_evaluation.run.executors.slurm import Slurm
    from sat_evaluation.run.ranks import is_rank

    folder = RunFolder(Path(arguments.checkpoint))
    of_study = bool(arguments.checkpoint) and folder.has_begun and folder.has_arms
    check, work = (_check_study, _evaluate_study) if of_study else (_check_checkpoint, _evaluate_checkpoint)
    check(arguments)
    measures = _measures(arguments)
    device = arguments.device or (folder.read_spec()[1]["device"] if of_study else "cpu")
    if arguments.devices < 1:
        raise SpecError(f"--devices: expected an integer >= 1, got {arguments.devices}")
    if arguments.devices > 1 and device not in ("cpu", "cuda"):
        raise SpecError(f"--devices: each takes a GPU of its own, so expected --device cuda, got {device}")
    options = slurm_options(arguments)
    if arguments.executor == "slurm":
        executor = Slurm(devices=arguments.devices, nodes=arguments.nodes, **options)
        return submit(arguments, folder if of_study else None, executor, device)
    if arguments.nodes != 1:
        raise SpecError("--nodes: this machine is one; take --executor slurm")

    def run(group: ProcessGroup, stop: Callable[[], bool]) -> None:
        with as_job(arguments.job, group):
            work(arguments, measures, group, stop)

    if is_rank():
        return as_rank(device, run)
    if arguments.devices > 1:
        return on_devices(arguments.words, arguments.devices)
    run(ALONE, lambda: False)
    return 0


def _view(arguments: argparse.Namespace, group: ProcessGroup) -> View:
    from sat_evaluation.cli.evaluation_job import JobView
    from sat_evaluation.cli.live_view import Terminal
    from sat_evaluation.run.view import Silent

    if group.rank > 0:
        return Silent()
    return JobView(arguments.job) if arguments.job else Terminal()


def _check_study(arguments: argparse.Namespace) -> None:
    from sat_core.errors import SpecError
    from sat_core.run_folder import RunFolder
    from sat_evaluation.run.levels import check_plugins

    for name, default in _DEFAULTS.items():
        if getattr(arguments, name) != default:
            raise SpecError(
                f"--{name.replace('_', '-')}: for a checkpoint only; a study is evaluated with its settings"
            )
    # before ranks or a job are started for it
    check_plugins(RunFolder(Path(arguments.checkpoint)))


def _check_checkpoint(arguments: argparse.Namespace) -> None:
    from sat_core.errors import SpecError, printable, quoted

    if arguments.arms:
        raise SpecError("--arms: for the folder of a study only")
    if ":" in arguments.checkpoint and not Path(arguments.checkpoint).exists():
        raise SpecError(
            f"PATH: expected weights or the folder of a study, got {quoted(arguments.checkpoint)}, which is not there\n"
            "give the name of a network as --model NAME"
        )
    if not arguments.checkpoint and not arguments.model:
        raise SpecError("PATH: expected weights or the folder of a study, or --model with what comes with its own")
    if not arguments.data:
        here = Path(arguments.checkpoint)
        weights = not arguments.checkpoint or here.is_file() or here.with_name(f"{here.name}.safetensors").is_file()
        no_study = "" if weights else f"\n{printable(str(here))} is not the folder of a study, which would need none"
        raise SpecError(f"--data: expected the data set on which the checkpoint is attacked, got none{no_study}")
    if arguments.level and arguments.attacks:
        raise SpecError("--attacks: stands in place of --level; give one of the two")


def _measures(arguments: argparse.Namespace) -> Measures | None:
    """Return what is measured in place of robust accuracy at one threat model; None if nothing is; SpecError."""
    if not (arguments.grid is not None or arguments.calibration or arguments.corruptions):
        return None
    from sat_core.errors import SpecError
    from sat_core.threat_grid import ThreatGrid
    from sat_evaluation.run.evaluate import attack_set
    from sat_evaluation.run.measures import Measures

    if arguments.grid is not None and (arguments.eps or arguments.norm):
        raise SpecError("--grid: has norms and radii of its own; leave out --norm and --eps")
    if arguments.calibration and len(arguments.eps) > 1:
        raise SpecError(f"--eps: expected one with --calibration, got {len(arguments.eps)}; give the others one by one")
    if arguments.grid is None and (arguments.level or arguments.attacks):
        name = "--level" if arguments.level else "--attacks"
        raise SpecError(f"{name}: for AutoAttack only, which --calibration and --corruptions do not run; leave it out")
    with _options_in_errors():
        return Measures(
            grid=None if arguments.grid is None else ThreatGrid.parse(arguments.grid),
            calibration=arguments.calibration,
            corruptions=arguments.corruptions,
            attacks=attack_set(arguments.attacks or arguments.level or "standard"),
        )


def _evaluate_study(
    arguments: argparse.Namespace, measures: Measures | None, group: ProcessGroup, stop: Callable[[], bool]
) -> None:
    from sat_core.run_folder import RunFolder
    from sat_evaluation.cli.measured_table import print_measured
    from sat_evaluation.cli.summary import print_summary
    from sat_evaluation.run.levels import evaluate_study
    from sat_evaluation.run.measure_study import measure_study

    folder = RunFolder(Path(arguments.checkpoint))
    options = {name: getattr(arguments, name) for name in ("backend", "device")}
    view, level = _view(arguments, group), arguments.level or "standard"
    if measures is not None:
        with _options_in_errors():
            measured = measure_study(
                folder, measures, arguments.arms or (), view=view, group=group, stop=stop, **options
            )
        if group.rank == 0:
            print_measured(measured, folder.path)
        return
    results = evaluate_study(folder, level, arguments.arms or (), view=view, group=group, stop=stop, **options)
    if group.rank == 0:
        print_summary(results, folder)


def _evaluate_checkpoint(
    arguments: argparse.Namespace, measures: Measures | None, group: ProcessGroup, stop: Callable[[], bool]
) -> None:
    from sat_evaluation.cli.evaluation_table import print_evaluations
    from sat_evaluation.cli.measured_table import print_measured
    from sat_evaluation.run.evaluate import CheckpointEvaluation
    from sat_evaluation.run.measures import measure

    same = ["checkpoint", "data", "norm", "examples", "batch_size", "engine", "threads", "out"]
    same += ["model", "mean", "std", "output"]
    attacks = arguments.attacks or arguments.level or "standard"
    options = {name: getattr(arguments, name) for name in same}
    evaluation = CheckpointEvaluation(radii=arguments.eps, attacks=attacks, **options)
    computing, view = (arguments.backend, arguments.device or "cpu"), _view(arguments, group)
    if measures is not None:
        with _options_in_errors(), evaluation.opened(*computing, view, group=group) as target:
            measured = measure(target, measures, view, stop)
        if group.rank == 0:
            print_measured({"": measured}, evaluation.folder)
        return
    with _options_in_errors():
        evaluations, out = evaluation.run(*computing, view, group, stop)
    if group.rank == 0:
        print_evaluations(evaluations, out)


_OPTIONS = {
    "model.output": "--output",
    "model.name": "--model",
    "attack.eps": "--eps",
    "attack.norm": "--norm",
    # its default follows from ε
    "attack.step_size": "--eps",
    "evaluation.attacks": "--attacks",
    "evaluation.examples": "--examples",
    "training.threads": "--threads",
    "training.batch_size": "--batch-size",
}


_ITSELF = re.compile("^(mean, std|mean|std|grid):( give both: (mean|std))?")
"""Settings at the beginning of a message that are called as their option."""


@contextmanager
def _options_in_errors() -> Iterator[None]:
    """Make errors name the options of the command in place of the keys of a study."""
    from sat_core.errors import SpecError

    try:
        yield
    except SpecError as error:
        text = _ITSELF.sub(lambda names: re.sub("mean|std|grid", "--\\g<0>", names[0]), str(error))
        for key, option in _OPTIONS.items():
            # "(studies: model.output, command line: --output)" says both already
            text = re.sub(f"(?<!studies: ){re.escape(key)}", option, text)
        raise type(error)(text) from error
