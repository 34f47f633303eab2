"""A whole study: checked before anything is trained, run side by side, summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from sat_core import files
from sat_core.arm import RESULTS, arm_tables, claim_arm, read_results
from sat_core.backend import Backend, device_number, get_backend
from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_core.errors import SatError, install, printable
from sat_core.job import Job
from sat_core.ranking import FILE, Ranking, needs_ranking, ranking_job, ranking_tables
from sat_core.reuse import Finished
from sat_core.rundir import SPEC, claim, fingerprint, read
from sat_core.sections import ModelSpec
from sat_core.study import Arm, Study
from sat_core.transfer import named_as_transfer, transfer_keys, transfer_spec
from sat_evaluation.attack.package import find_package
from sat_evaluation.cli.data_sets import check_headers
from sat_evaluation.results.headline import headline
from sat_evaluation.results.rows import collect
from sat_evaluation.results.table import print_table
from sat_evaluation.run.executors.base import Executor, Unit
from sat_evaluation.run.executors.local import Local
from sat_evaluation.run.finish import finish, work_through
from sat_evaluation.run.folder import RANKING, TRANSFERS, unit_directory
from sat_evaluation.run.heads import Transfer, target_data, told, transfer_folders


def run_study(
    study: Study,
    out: str | Path,
    *,
    backend: str | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
    reuse: Sequence[Path] = (),
    only_ranking: bool = False,
) -> list[dict[str, Any]]:
    """Run every arm of `study` in the folder `out`; returns their results, in the order of the arms.

    Then the heads for each target of its transfers, in ``transfer/TARGET``. executor: where arms run, by default
    `sat_evaluation.run.executors.local.Local()`. reuse: folders whose finished arms are taken over where they are the
    same. only_ranking: no arms. The same call goes on after a crash, and returns at once when all is done. Raises
    SatError before any training if something is wrong, Interrupted after a requested stop (Detached if jobs were only
    submitted), and RunDirectoryError with the reasons if arms failed (the others are finished first).
    """
    out = Path(out)
    executor = executor or Local()
    executor.check(out)
    units = prepare(study, out, _computing(backend, device, executor), reuse)
    if only_ranking:
        units = [unit for unit in units if unit.name == RANKING]
    outcome = work_through(out, units, executor, device)
    results = finish(out, [] if only_ranking else [arm.name for arm in study.arms], outcome)
    for target, folder in transfer_folders(study, out).items():
        settings = study.head_settings
        run_transfer(
            out, target, folder, asked=settings, backend=backend, device=device, executor=executor, reuse=reuse
        )
    return results


def run_transfer(
    source: str | Path,
    target: str,
    out: str | Path,
    *,
    asked: Mapping[str, Any] | None = None,
    backend: str | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
    reuse: Sequence[Path] = (),
) -> list[dict[str, Any]]:
    """Train and evaluate a head for the data set `target` on the features of a run; returns the results.

    source: the folder of an arm, or of a study, all of whose arms are taken. out: gets ``arms/NAME/``, as a study has
    them. asked: some of `sat_core.transfer.SETTINGS`. All else as in `run_study`.
    """
    out = Path(out)
    transfer = Transfer(source=Path(source), target=target, asked=dict(asked or {}))
    executor = executor or Local()
    executor.check(out)
    units = prepare_transfer(transfer, out, _computing(backend, device, executor), reuse)
    outcome = work_through(out, units, executor, device)
    return finish(out, list(transfer.sources()), outcome)


def _computing(backend: str | None, device: str, executor: Executor) -> Backend:
    """What computes. For machines that are not this one, it checks on the CPU what they will do on their `device`."""
    device_number(device)
    computing = get_backend(backend, "cpu" if executor.elsewhere else device)
    computing.device = device
    return computing


def prepare(study: Study, out: Path, computing: Backend, reuse: Sequence[Path] = ()) -> list[Unit]:
    """Refuse here what can be refused; then `out` belongs to the study. Returns the work that is left."""
    data, jobs, sizes = _look(study, out, computing)
    job = next(iter(jobs.values()))
    tables = study.to_tables()
    tables.pop(TRANSFERS, None)  # with one target more it is still the same study
    claim(out, tables, computing, data)
    run = read(out)[1]
    _check_finished([attrs.evolve(jobs[arm], directory=unit_directory(out, arm.name)) for arm in study.arms], run)
    _check_ranking(attrs.evolve(job, spec=study.base, directory=unit_directory(out, RANKING)), run)
    arms = sorted(study.arms, key=lambda arm: -sizes[arm.name])  # the longest first, so that none is left for the end
    left = [arm for arm in arms if not (unit_directory(out, arm.name) / RESULTS).exists()]
    if left and reuse:
        job = next(iter(jobs.values()))
        left = _not_taken(left, jobs, attrs.evolve(job, spec=study.base), Finished(reuse, besides=out))
    units = [Unit(arm.name, arm.spec.training.threads, needs_ranking(arm.spec)) for arm in left]
    if any(unit.after_ranking for unit in units) and not (unit_directory(out, RANKING) / FILE).exists():
        units.insert(0, Unit(RANKING, study.base.training.threads))
    return units


def check_study(
    study: Study, out: str | Path, *, backend: str | None, device: str, executor: Executor, reuse: Sequence[Path] = ()
) -> None:
    """Refuse what `run_study` would refuse before any training, and print the same warnings. Nothing is written."""
    _look(study, Path(out), _computing(backend, device, executor))
    Finished(reuse, besides=Path(out))


def _look(study: Study, out: Path, computing: Backend) -> tuple[DataSet, dict[Arm, Job], dict[str, int]]:
    """The data, a job for each arm, and |A| by the arm's name, all checked, as are ranking, models and transfers."""
    data = get_dataset(study.base.data.name)
    find_package()
    options: dict[str, Any] = {"data": data, "backend": computing, "directory": out}
    jobs = {arm: Job(spec=arm.spec, full_name=arm.full, **options) for arm in study.arms}
    sizes = _checked(jobs)
    _check_data(out, data)
    job = next(iter(jobs.values()))
    models = {arm.spec.model.name for arm in study.arms}
    if any(needs_ranking(arm.spec) for arm in study.arms):
        ranking = ranking_job(attrs.evolve(job, spec=study.base))
        ranking.planner(ranking.no_members())
        models.add(ranking.spec.model.name)
    for name in sorted(models):
        attrs.evolve(job, spec=attrs.evolve(job.spec, model=ModelSpec(name=name))).probe()
    for target in transfer_folders(study, out):
        heads = {arm: transfer_spec(arm.spec, target, study.head_settings) for arm in study.arms}
        target_images = target_data(job.spec, target).resized(data.image_shape)
        _check_data(out, target_images)
        _checked({arm: attrs.evolve(job, spec=spec, data=target_images) for arm, spec in heads.items()}, target)
    return data, jobs, sizes


def _check_finished(jobs: Sequence[Job], run: Mapping[str, str]) -> None:
    """DataError for the first `results.json` in these folders that is not of its arm, or not whole."""
    for job in jobs:
        path = job.directory / RESULTS
        if path.exists():
            collect([read_results(path, fingerprint(arm_tables(job), run))])


def _check_ranking(job: Job, run: Mapping[str, str]) -> None:
    if (job.directory / FILE).exists():
        Ranking.read(job.directory, fingerprint(ranking_tables(ranking_job(job)), run))


def _not_taken(arms: Sequence[Arm], jobs: Mapping[Arm, Job], base: Job, finished: Finished) -> list[Arm]:
    """Take over the ranking and those of `arms` that are finished elsewhere; returns the others."""
    out = base.directory
    ranking = None
    if any(needs_ranking(arm.spec) for arm in arms):
        folder = unit_directory(out, RANKING)
        if (folder / FILE).exists() or finished.take_ranking(attrs.evolve(base, directory=folder)):
            ranking = Ranking.read(folder)
    left = []
    for arm in arms:
        job = attrs.evolve(jobs[arm], directory=unit_directory(out, arm.name))
        known = ranking if needs_ranking(arm.spec) else Ranking(order=job.published_order())
        if known is None or not finished.take_arm(job, known):
            left.append(arm)
    return left


def prepare_transfer(transfer: Transfer, out: Path, computing: Backend, reuse: Sequence[Path] = ()) -> list[Unit]:
    """`prepare` for the heads on finished runs."""
    transfer.check_folder(out)
    data = transfer.data()
    find_package()
    names = transfer.sources()
    folders = {name: unit_directory(out, name) for name in names}
    jobs = {name: transfer.job(name, data, backend=computing, directory=folders[name]) for name in names}
    _checked({Arm(name, job.spec): job for name, job in jobs.items()}, transfer.target)
    _check_data(out, data)
    jobs[next(iter(names))].probe()
    claim(out, transfer.tables(out), computing, data)
    for name in names:
        if folders[name].exists():
            claim_arm(jobs[name])  # a source that has changed is none of a finished head
    _check_finished(list(jobs.values()), read(out)[1])
    left = [name for name in names if not (folders[name] / RESULTS).exists()]
    if left and reuse:
        finished = Finished(reuse, besides=out)
        left = [name for name in left if not finished.take_arm(jobs[name], Ranking())]
    return [Unit(name, jobs[name].spec.training.threads) for name in left]


def _check_data(out: Path, data: DataSet) -> None:
    """Look at the headers of its images before a run begins, and print its notes."""
    for note in data.notes:
        Console(stderr=True).print(f"note: {printable(note)}", markup=False, highlight=False, soft_wrap=True)
    if not (out / SPEC).exists():  # a run that goes on has looked at them: its fingerprint holds
        check_headers(*data.parts)


def _checked(jobs: Mapping[Arm, Job], target: str | None = None) -> dict[str, int]:
    """|A| of each job by the name of its arm; an error names the arm if there are several. Prints warnings.

    target: of the transfer whose heads these are.
    """
    sizes: dict[str, int] = {}
    warnings: list[tuple[str, str]] = []
    for arm, job in jobs.items():
        try:
            with named_as_transfer(target) if target else nullcontext():
                sizes[arm.name] = job.check()
        except SatError as error:
            raise type(error)(f"{arm.name}: {error}") if len(jobs) > 1 else error from None
        lines = job.warnings(sizes[arm.name])
        warnings += [(arm.name, transfer_keys(line) if target else line) for line in lines]
    for line in _grouped(warnings, len(jobs)):
        Console(stderr=True, soft_wrap=True).print(printable(line), markup=False, highlight=False)
    return sizes


def report(results: list[dict[str, Any]], out: str | Path) -> None:
    """Print the table, the sentence that sums it up, warnings of the arms, and where the files are."""
    rows, console = collect(results), Console()
    print_table(rows, console)
    moved = [told(results[0])] if "source" in results[0] else []
    for line in filter(None, [headline(rows), *moved, *_warnings(results)]):
        console.print(printable(line), markup=False, highlight=False)
    if find_spec("matplotlib") is None:
        console.print(f"no plots: they need matplotlib, {install('report')}", markup=False, highlight=False)
    files_made = [path.name for path in sorted(Path(out).iterdir()) if path.suffix in (".csv", ".png", ".svg")]
    console.print(f"{out}: {', '.join(files_made)}; arms/*/results.json", markup=False, highlight=False)


def report_transfers(study: Study, out: str | Path) -> None:
    """`report` for each target of a finished study."""
    for folder in transfer_folders(study, Path(out)).values():
        report([files.read_json(unit_directory(folder, arm.name) / RESULTS) for arm in study.arms], folder)


def _warnings(results: list[dict[str, Any]]) -> list[str]:
    told = [(r["arm"], (*r.get("warnings", ()), *r["attacks"].get("warnings", ()))) for r in results]
    return _grouped([(arm, text) for arm, texts in told for text in texts], len(results))


def _grouped(warnings: Sequence[tuple[str, str]], number: int) -> list[str]:
    """One line for each text, with the arms that it is about unless these are all of a `number` of several."""
    arms: dict[str, list[str]] = {}
    for arm, text in warnings:
        arms.setdefault(text, []).append(arm)
    lines = []
    for text, names in arms.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"warning: {text}" if 1 < len(names) == number else f"warning: {names[0]}{more}: {text}")
    return lines
