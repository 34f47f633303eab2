"""The `sat` command. It reads arguments and prints; everything else is in modules that load on first use."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sat_core.errors import EXIT_CONTINUE, Interrupted, SatError

if TYPE_CHECKING:
    from sat_core.study import Study


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: done; 2: refused or failed, one to three lines say why; 75: saved and stopped, run again."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except Interrupted as error:
        _complain(error)
        return EXIT_CONTINUE
    except SatError as error:
        if arguments.debug:
            raise
        _complain(error)
        return 2
    except KeyboardInterrupt:
        _complain("interrupted; what is finished is saved, the same command goes on")
        return EXIT_CONTINUE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if arguments.debug:
            raise
        _complain(f"unexpected {type(error).__name__}: {str(error)[:300]}\nthis is a defect; --debug shows where")
        return 1


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = argparse.ArgumentParser(prog="sat", description="Subset Adversarial Training: robustness for less.")
    top.add_argument("--version", action="version", version=_version())
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a study: rank, split, train, evaluate, summarise", description=_RUN)
    run.add_argument("study", help="study file (TOML)")
    run.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="override a key")
    run.add_argument("--dry-run", action="store_true", help="print the arms and stop")
    run.set_defaults(run=_run)
    evaluate = commands.add_parser("evaluate", help="AutoAttack on a checkpoint", description=_EVALUATE)
    evaluate.add_argument("checkpoint", help="checkpoint-best of an arm, with or without .safetensors")
    evaluate.add_argument("--data", required=True, help="a data set (`sat data list`); its test part is attacked")
    evaluate.add_argument("--attacks", default="standard", help="standard, plus, or names with commas")
    evaluate.add_argument("--norm", help="L2 or Linf (default: as in training)")
    evaluate.add_argument("--eps", nargs="+", default=[], metavar="E", help="one or more, as 0.5 or 8/255")
    evaluate.add_argument("--examples", type=int, help="how many, in a fixed random order (default: all)")
    evaluate.add_argument("--batch-size", type=int, default=250, help="of the attack; part of the result (default 250)")
    evaluate.add_argument("--model", help="package.module:factory, for a checkpoint of your own model")
    evaluate.add_argument("--threads", type=int, default=1, help="of the CPU (default 1)")
    evaluate.add_argument("--out", help="folder for per-example results (default: evaluate, beside the checkpoint)")
    evaluate.set_defaults(run=_evaluate)
    transfer = commands.add_parser("transfer", help="a head for another task on frozen features", description=_TRANSFER)
    transfer.add_argument("source", help="folder of a finished arm, or of a study, all of whose arms are taken")
    transfer.add_argument("--data", required=True, help="the target, any data set; its images are scaled to fit")
    transfer.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as epochs=20"
    )
    transfer.set_defaults(run=_transfer)
    _add_data(commands)
    for command in (run, transfer):
        command.add_argument("--out", required=True, help="folder for the results; the same command goes on with them")
        command.add_argument("--jobs", type=int, help="arms at a time (default: as many as cores; 1 on a GPU)")
        command.add_argument("--save-every", type=float, default=20.0, metavar="S", help="seconds between saves (20)")
    for command in (run, transfer, evaluate):
        command.add_argument("--backend", help="torch or tensorflow (default: SAT_BACKEND, else torch)")
        command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (default cpu)")
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    return top


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="data sets: list, info, download, verify", description=_DATA)
    verbs = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verbs.add_parser("list", help="all data sets, and which are here")
    info = verbs.add_parser("info", help="what is known about one")
    info.add_argument("name", help="a name of the list, with a path or options where it takes them")
    download = verbs.add_parser("download", help="get one, whole and checked, or leave everything as it was")
    download.add_argument("name", help="a name of the list")
    download.add_argument(
        "--root", metavar="DIR", help="where to (default: NAME in $SAT_DATA, or in ~/.cache/sat-core)"
    )
    verify = verbs.add_parser("verify", help="check sums and counts, and decode every image")
    verify.add_argument("name", help="a name of the list, with a path or options where it takes them")
    for verb, command in verbs.choices.items():
        command.set_defaults(run=_data, verb=verb)
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


_DATA = "The data sets that --set data.name and --data take."
_RUN = "Run every arm of a study; results, plots and checkpoints go to --out."
_TRANSFER = "Train a head for another data set on the frozen features of finished runs, and attack it (S-CSAT, S-ESAT)."
_EVALUATE = "AutoAttack on a checkpoint, for one or more ε; per-example results go to --out."


def _run(arguments: argparse.Namespace) -> int:
    from sat_core.study import Study, parse_setting

    study = Study.load(arguments.study).set(dict(map(parse_setting, arguments.settings)))
    if arguments.dry_run:
        _print_arms(study)
        return 0
    from sat_evaluation.study import report, report_transfers, run_study

    results = run_study(study, arguments.out, **_running(arguments))
    report(results, arguments.out)
    report_transfers(study, arguments.out)
    return 0


def _transfer(arguments: argparse.Namespace) -> int:
    from sat_core.study import parse_setting
    from sat_evaluation.study import report, run_transfer

    asked = {key.removeprefix("transfer."): value for key, value in map(parse_setting, arguments.settings)}
    results = run_transfer(arguments.source, arguments.data, arguments.out, asked=asked, **_running(arguments))
    report(results, arguments.out)
    return 0


def _running(arguments: argparse.Namespace) -> dict[str, Any]:
    from sat_core.errors import SpecError

    if arguments.jobs is not None and arguments.jobs < 1:
        raise SpecError(f"--jobs: expected an integer >= 1, got {arguments.jobs}")
    if not arguments.save_every >= 0:
        raise SpecError(f"--save-every: expected seconds >= 0, got {arguments.save_every}")
    return {key: getattr(arguments, key) for key in ("backend", "device", "jobs", "save_every")}


def _evaluate(arguments: argparse.Namespace) -> int:
    from sat_evaluation.evaluate import evaluate_checkpoint

    evaluate_checkpoint(arguments)
    return 0


def _data(arguments: argparse.Namespace) -> int:
    from sat_evaluation import data

    if arguments.verb == "list":
        data.print_list()
    elif arguments.verb == "info":
        data.print_info(arguments.name)
    elif arguments.verb == "download":
        print(data.fetch(arguments.name, arguments.root))
    else:
        print(data.check(arguments.name))
    return 0


def _print_arms(study: Study) -> None:
    print(study.dumps())
    print("\n".join([f"# arms: {len(study.arms)}", *(f"# {arm.name}" for arm in study.arms)]))


def _version() -> str:
    import sat_core

    return f"sat-core {sat_core.__version__}"


def _complain(error: object) -> None:
    print(f"sat: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
