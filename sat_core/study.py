"""Studies: a base and grids, from TOML; the arms are the product of each grid, one grid after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs

from sat_core.arm_names import folder_name, name_arm, unify
from sat_core.display import html_table
from sat_core.errors import SpecError, quoted
from sat_core.evaluation_spec import ATTACK_KEYS, LEVEL
from sat_core.files import parse_toml, reason, short_name
from sat_core.grids import LIST_KEYS, as_grids, check_grids, check_key
from sat_core.report_arms import REPORT_ARMS, screened
from sat_core.runner import PLANNERS, RUNNERS
from sat_core.seeds import SEEDS, TRAINING_SEED, with_seeds
from sat_core.spec import Spec, check_keys
from sat_core.tables import flatten, lists, nest
from sat_core.transfer import transfer_spec

if TYPE_CHECKING:
    from sat_core.own_data import Data


@final
@attrs.frozen
class Arm:
    """One training of a study.

    Attributes:
        name: Of its folder.
        spec: Everything that its result depends on.
        full: The full name if it was too long for a folder; else empty.
    """

    name: str
    spec: Spec
    full: str = ""


@final
@attrs.frozen(kw_only=True)
class Study:
    """Several trainings, described by tables as in a study file, grids of values, and transfers.

    Every arm and transfer is checked when the study is made.

    Attributes:
        settings: Nested tables, as in the file. Its key `seeds` is put into the grids, as a list of ``training.seed``.
        grids: Each maps dotted keys to lists of values and adds their product. A single grid needs no list around it.
        transfer: `targets`, a list of data sets, and settings of the heads (`sat_core.transfer.SETTINGS`).
        report_arms: Names or patterns of the arms that are reported; the others are screened. None for all.
        arms: The trainings, in order.

    Raises:
        SpecError: A key or a value is wrong.
    """

    settings: Mapping[str, Any]
    grids: Sequence[Mapping[str, Sequence[Any]]] = attrs.field(factory=lambda: ({},), converter=as_grids)
    transfer: Mapping[str, Any] = attrs.field(factory=dict)
    report_arms: Sequence[str] | None = None
    arms: tuple[Arm, ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if SEEDS in self.settings:
            settings, grids = with_seeds(self.settings, self.grids)
            object.__setattr__(self, "settings", settings)
            object.__setattr__(self, "grids", grids)
        check_keys(self.settings)
        check_grids(self.grids)
        object.__setattr__(self, "arms", self._arms())
        self._check_transfer()

    def _check_transfer(self) -> None:
        if not self.transfer:
            return
        targets = self.transfer.get("targets")
        if not isinstance(targets, list | tuple) or not targets or not all(isinstance(t, str) for t in targets):
            raise SpecError(f'transfer.targets: expected a list of data sets, as ["cifar10"], got {quoted(targets)}')
        folders = [folder_name(target) for target in targets]
        if len(set(folders)) < len(folders):
            raise SpecError(f"transfer.targets: expected different data sets, got {quoted(list(targets))}")
        for target, arm in itertools.product(targets, self.arms):
            transfer_spec(arm.spec, target, self.head_settings)

    @property
    def head_settings(self) -> dict[str, Any]:
        """Settings of the heads of all transfers."""
        return {key: value for key, value in self.transfer.items() if key != "targets"}

    @classmethod
    def load(cls, path: str | Path) -> Study:
        """Read the study file (TOML) at `path`; SpecError names the file and what is wrong."""
        try:
            # Some editors begin a file with a byte order mark, which TOML does not know.
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{path}: cannot read the study file ({reason(error)})") from error
        try:
            tables = parse_toml(text)
        except ValueError as error:
            raise SpecError(f"{path}: not valid TOML: {error}") from error
        return cls.from_tables(tables)

    @classmethod
    def loads(cls, text: str) -> Study:
        """Read a study from TOML text; ValueError if it is invalid."""
        return cls.from_tables(parse_toml(text))

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Study:
        """Make a study from tables as TOML gives them, with [grid] or several [[grid]]."""
        settings = dict(tables)
        grids, transfer = as_grids(settings.pop("grid", {})), settings.pop("transfer", {})
        if not isinstance(grids, list | tuple) or not grids or not all(isinstance(grid, Mapping) for grid in grids):
            raise SpecError(f"grid: expected a table [grid] of lists, or several [[grid]], got {quoted(grids)}")
        if not isinstance(transfer, Mapping):
            raise SpecError(f"transfer: expected a table [transfer] of settings, got {quoted(transfer)}")
        report_arms = None
        if isinstance(settings.get("evaluation"), Mapping):
            settings["evaluation"] = dict(settings["evaluation"])
            report_arms = settings["evaluation"].pop("report_arms", None)
        return cls(
            settings=settings, grids=[flatten(grid) for grid in grids], transfer=transfer, report_arms=report_arms
        )

    def to_tables(self) -> dict[str, Any]:
        """Return tables, complete except for values that follow from the grids; `from_tables` makes the same arms."""
        specs = [flatten(spec.to_tables()) for _, spec in self._points()]
        # Derived values that change along a grid, as the step size does with ε, are left out and derived again.
        constant = {k: v for k, v in specs[0].items() if k not in self._varied and all(s[k] == v for s in specs)}
        everywhere = {k for k in self._varied if all(k in grid for grid in self.grids)}
        # the seed outside of the grid is that of the ranking
        own = {k: v for k, v in flatten(self.settings).items() if k not in everywhere or k == TRAINING_SEED}
        if not any(f"evaluation.{key}" in self._varied for key in (LEVEL, *ATTACK_KEYS)):
            # What it stands for is in the tables. Beside that, another level would change nothing.
            own.pop(f"evaluation.{LEVEL}", None)
        if self.report_arms is not None:
            own[REPORT_ARMS] = list(self.report_arms)
        tables = nest({**constant, **own})
        grids = [{k: lists(v) for k, v in grid.items()} for grid in self.grids]
        if any(grids):
            tables["grid"] = grids if len(grids) > 1 else grids[0]
        if self.transfer:
            tables["transfer"] = {k: lists(v) for k, v in self.transfer.items()}
        return tables

    def dumps(self) -> str:
        """Return the study as TOML text."""
        import tomli_w

        return tomli_w.dumps(self.to_tables())

    def set(self, settings: Mapping[str, Any]) -> Study:
        """Return the study with dotted keys set to new values.

        Args:
            settings: A list puts its key into every grid; any other value removes the key from the grids. A level of
                evaluation replaces the attacks that the study has, and `seeds` the seeds.
        """
        base, grids, transfer = flatten(self.settings), [dict(grid) for grid in self.grids], dict(self.transfer)
        report_arms = self.report_arms
        for section, tables in (("evaluation", (base, *grids)), ("transfer", (transfer,))):
            if f"{section}.{LEVEL}" in settings:
                for table, name in itertools.product(tables, ATTACK_KEYS):
                    table.pop(name if section == "transfer" else f"{section}.{name}", None)
        if SEEDS in settings:
            for grid in grids:
                grid.pop(TRAINING_SEED, None)
        for key, value in settings.items():
            section, _, name = key.partition(".")
            check_key(key)
            if key == SEEDS:
                base[key] = value
                continue
            if section == "transfer":
                transfer[name] = value
                continue
            if key == REPORT_ARMS:
                report_arms = value
                continue
            # A list makes a grid, but of a key that takes a list itself, only a list of lists does.
            listed = isinstance(value, list | tuple)
            in_grid = listed and (key not in LIST_KEYS or any(isinstance(v, list | tuple) for v in value))
            for table in (base, *grids):
                table.pop(key, None)
            for table in grids if in_grid else [base]:
                table[key] = value
        return Study(settings=nest(base), grids=grids, transfer=transfer, report_arms=report_arms)

    def run(
        self,
        out: str | Path,
        *,
        data: Data | None = None,
        backend: str | None = None,
        device: str = "cpu",
        jobs: int | None = None,
        devices: int = 1,
        reuse: Sequence[str | Path] = (),
        track: Sequence[str] = (),
        progress: bool = True,
    ) -> Any:
        """Run every arm on this machine, each in a process of its own; the same call continues after an interruption.

        Args:
            out: Folder for results and checkpoints.
            data: Your own, as in `sat_core.train`, in place of the study's data set. They are saved once in `out`. A
                study whose ``data.name`` is ``saved:NAME`` continues there without them, also as ``sat run``.
            backend: "torch" or "tensorflow". Default: the environment variable SAT_BACKEND, or PyTorch.
            device: "cpu", "cuda" (one arm per GPU) or "cuda:N".
            jobs: Arms at a time. Default: one per GPU, or as many as there are cores.
            devices: GPUs, or processes on the CPU, that train each arm together (docs/many-devices.md).
            reuse: Folders whose finished arms are taken over where they are the same.
            track: Trackers that are told of each arm, as ``["mlflow"]`` (docs/trackers.md).
            progress: Show how far each arm is.

        Returns:
            The results (`sat_evaluation.run.study_results.StudyResults`): iterate over arms, or use `to_pandas()` and
            `figure()`.

        Raises:
            SatError: Something is wrong with the study, before anything is trained; or arms failed.
        """
        options: dict[str, Any] = {"backend": backend, "device": device, "jobs": jobs, "devices": devices}
        # By registry: what runs studies imports the core, which must not import it.
        return RUNNERS.get("study")(self, out, data=data, reuse=reuse, track=track, progress=progress, **options)

    def plan(
        self,
        *,
        backend: str | None = None,
        device: str = "cpu",
        jobs: int | None = None,
        card: str = "",
        measure: bool = False,
        hours: float | None = None,
        of_full_at: str | float | None = None,
        curves: Sequence[str | Path] = (),
    ) -> Any:
        """Return what this study costs, a `Plan`; with `hours` or `of_full_at` what fits, a `Proposal` (docs/plan.md).

        Args:
            backend, device, jobs: As in `run`.
            card: A GPU of the table of cards, as ``"A100"``, in place of this device.
            measure: Measure this device first, for at most a minute.
            hours: Ask what fits into so many hours: which |A|, how many seeds, which level of evaluation.
            of_full_at: Ask what fits into a share of full AT's gradient evaluations, as ``"50%"`` or 0.5.
            curves: Folders of finished runs, which count beside the published curves in what A is expected to recover.
        """
        options: dict[str, Any] = {"backend": backend, "device": device, "jobs": jobs, "card": card}
        bounds: dict[str, Any] = {"hours": hours, "of_full_at": of_full_at, "curves": curves}
        return PLANNERS.get("study")(self, measure=measure, **options, **bounds)

    def _repr_html_(self) -> str:
        rows = [flatten(arm.spec.to_tables()) for arm in self.arms]
        heads = ("arm", *self._varied)
        cells = [(arm.name, *(row[key] for key in self._varied)) for arm, row in zip(self.arms, rows, strict=True)]
        return html_table(f"Study of {len(self.arms)} arms on {self.base.data.name}", heads, cells)

    @property
    def _varied(self) -> list[str]:
        """Keys that are in a grid."""
        return list(dict.fromkeys(key for grid in self.grids for key in grid))

    @property
    def base(self) -> Spec:
        """The spec of the ranking: the first arm's, with defaults where a grid varies model or training."""
        # The ranking must not depend on which value comes first in a grid.
        first = flatten(next(self._points())[1].to_tables())
        for key in self._varied:
            if key.split(".")[0] in ("training", "model") and key != "training.epochs":  # which has no default
                first.pop(key)
        return Spec.from_tables(nest({**first, **flatten(self.settings)}))

    def _points(self) -> Iterator[tuple[dict[str, Any], Spec]]:
        for grid in self.grids:
            for point in itertools.product(*grid.values()):
                chosen = dict(zip(grid, point, strict=True))
                yield chosen, Spec.from_tables(nest({**flatten(self.settings), **chosen}))

    def _arms(self) -> tuple[Arm, ...]:
        arms: dict[str, tuple[Spec, str]] = {}
        seen: set[Spec] = set()
        for chosen, full_spec in self._points():
            spec, ignored = unify(full_spec)
            if spec not in seen:
                seen.add(spec)
                full = name_arm({k: v for k, v in chosen.items() if not k.startswith(ignored)}) or "arm"
                name = short_name(full, of=full)
                # Two values may give one word, as "a b" and "a-b" do: the later arm gets a number.
                arms[name if name not in arms else f"{name}_{len(arms)}"] = spec, full if full != name else ""
        specs = screened({name: spec for name, (spec, _) in arms.items()}, self.report_arms)
        return tuple(Arm(name, specs[name], full) for name, (_, full) in arms.items())
