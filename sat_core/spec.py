"""What one arm of a study is: a frozen object, complete, comparable, and written to TOML without loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import attrs

from sat_core.attack_spec import AttackSpec
from sat_core.combinations import check_combinations, check_subset
from sat_core.errors import SpecError, quoted
from sat_core.evaluation_spec import LEVEL, EvaluationSpec, set_level
from sat_core.loss_spec import LossSpec
from sat_core.member_losses import LOSSES
from sat_core.plugins import PLUGINS, load_plugins
from sat_core.protocols import PROTOCOLS
from sat_core.registry import unknown
from sat_core.sections import DataSpec, ModelSpec, RankingSpec, SubsetSpec, WeightingSpec
from sat_core.seeds import SEEDS
from sat_core.training_spec import TrainingSpec


@final
@attrs.frozen(kw_only=True)
class Spec:
    """One arm, complete: everything its result depends on, except backend, device and package versions.

    Attributes:
        protocol: Name of a protocol, on which defaults depend.
        plugins: Modules that are imported before any value is checked. A part of the fingerprint, unless there are
            none: two modules may bring different rules of one name, which nothing else in the settings tells apart.
            Installed packages that add entry points are not named; like all versions, they are in results.json.
    """

    protocol: str
    plugins: tuple[str, ...] = ()
    data: DataSpec
    model: ModelSpec
    ranking: RankingSpec
    subset: SubsetSpec
    weighting: WeightingSpec
    loss: LossSpec
    attack: AttackSpec
    training: TrainingSpec
    evaluation: EvaluationSpec

    def __attrs_post_init__(self) -> None:
        check_combinations(self.loss, self.attack, self.training)
        check_subset(self.subset, self.ranking, self.loss)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Spec:
        """Make a spec from nested tables, as TOML gives them.

        Args:
            tables: Missing keys take the protocol's value, then our default.

        Raises:
            SpecError: A key is unknown (the message names the nearest one) or missing, or a value is wrong.
        """
        # A copy: defaults are filled in below, and the tables are the caller's.
        tables = {key: dict(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
        check_keys(tables)
        plugins = load_plugins(tables.get(PLUGINS, ()))
        name = tables.setdefault("protocol", "paper")
        if not isinstance(name, str):
            raise SpecError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {quoted(name)}")
        if "evaluation" in tables:
            set_level(tables["evaluation"])
        # Before any section is built, because some defaults of a protocol depend on the study's own settings.
        for dotted, value in PROTOCOLS.get(name).defaults(tables).items():
            section, key = dotted.split(".")
            tables.setdefault(section, {}).setdefault(key, value)
        if isinstance(tables.get("data", {}).get("name"), str):
            tables["data"]["name"] = PROTOCOLS.get(name).data(tables["data"]["name"])
        training = _build(TrainingSpec, tables.setdefault("training", {}))
        # Refused here, not in TrainingSpec: the contract suite takes steps that learn nothing to see statistics move.
        if training.lr == 0:
            raise SpecError("training.lr: expected a number > 0, got 0, with which nothing is learnt")
        tables.setdefault("ranking", {}).setdefault("epochs", training.epochs)
        tables.setdefault("subset", {}).setdefault("seed", training.seed)
        # TRADES attacks the divergence that it minimises, and so on.
        loss = _build(LossSpec, tables.get("loss", {}))
        tables.setdefault("attack", {}).setdefault("loss", LOSSES.get(loss.kind).attack_loss)
        sections = {s: _build(kind, tables.get(s, {})) for s, kind in SECTIONS.items()}
        return cls(protocol=name, plugins=plugins, **sections)

    def to_tables(self) -> dict[str, Any]:
        """Return nested tables, complete; `Spec.from_tables` makes an equal spec from them."""
        return attrs.asdict(
            self,
            # `_eps` is what was given, `eps` what follows from it. The file gets the latter, also where it is derived.
            filter=lambda a, _v: not a.name.startswith("_"),
            value_serializer=lambda _i, _a, v: list(v) if isinstance(v, tuple) else v,
        )


SECTIONS: dict[str, type[Any]] = {
    kind.SECTION: kind
    for kind in (
        DataSpec,
        ModelSpec,
        RankingSpec,
        SubsetSpec,
        WeightingSpec,
        LossSpec,
        AttackSpec,
        TrainingSpec,
        EvaluationSpec,
    )
}
_FIELDS: dict[str, list[attrs.Attribute[Any]]] = {
    section: [a for a in attrs.fields(kind) if not a.name.startswith("_")] for section, kind in SECTIONS.items()
}
_TOP = ("protocol", PLUGINS)
"""Keys that are in no table."""
KEYS: tuple[str, ...] = (
    *_TOP,
    *(f"{section}.{a.name}" for section, own in _FIELDS.items() for a in own),
    f"{EvaluationSpec.SECTION}.{LEVEL}",
)
"""All dotted keys of a study file."""
DEFAULTS: dict[str, Any] = {PLUGINS: ()} | {
    f"{section}.{a.name}": a.default
    for section, own in _FIELDS.items()
    for a in own
    if a.default is not attrs.NOTHING and not isinstance(a.default, attrs.Factory)  # type: ignore[arg-type]
}
"""Values of the keys that depend on no other key."""


def check_keys(tables: Mapping[str, Any]) -> None:
    """Raise SpecError for the first key that no spec has, naming the nearest one."""
    for section, table in tables.items():
        if section in _TOP:
            continue
        if section not in SECTIONS:
            of_studies = [key for key in ("grid", "transfer", SEEDS) if key != section]
            raise SpecError(unknown("key", section, [*_TOP, *of_studies, *SECTIONS]))
        if not isinstance(table, Mapping):
            raise SpecError(f"{section}: expected a table [{section}] of settings, got {quoted(table)}")
        for key in table:
            if f"{section}.{key}" not in KEYS:
                keys = [name for name in KEYS if name.startswith(f"{section}.")]
                raise SpecError(unknown("key", f"{section}.{key}", keys))


def _build(kind: type[Any], table: Mapping[str, Any]) -> Any:
    missing = [a.name for a in _FIELDS[kind.SECTION] if a.default is attrs.NOTHING and a.name not in table]
    if missing:
        own = ', or "saved:NAME" if Study.run is given data' if (kind.SECTION, missing[0]) == ("data", "name") else ""
        raise SpecError(f"{kind.SECTION}.{missing[0]}: expected a value, got none; add it to [{kind.SECTION}]{own}")
    return kind(**table)
