"""Results of arms as rows: one arm with its accuracies, costs and settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import attrs

from sat_core.accuracy import Accuracy
from sat_core.autoattack import ATTACK_SETS
from sat_core.errors import DataError
from sat_core.json_fields import from_json
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.text import epsilon

_NOT_COMPARED = ("training.seed", "subset.size", "subset.classes")
_NOT_IN_FULL = ("subset.", "weighting.", "ranking.")
_NOT_IN_BASELINE: dict[Baseline | None, tuple[str, ...]] = {
    Baseline.PLAIN: (*_NOT_IN_FULL, "attack.kind", "attack.step", "attack.random_start", "attack.keep_best"),
    Baseline.FULL: _NOT_IN_FULL,
}
"""Settings that change nothing in a baseline: nothing is selected, and where A is empty nothing is attacked."""


@final
@attrs.frozen(kw_only=True)
class Row:
    """One arm. size: |A| in examples of `total`; share = size / total. units: examples or classes chosen.

    cost: gradient evaluations of training and its attack as a share of what full adversarial training takes.
    per_class: robust accuracy on each class, None where it has no test example. counts: for each class, test images and
    those of them that are classified correctly and robustly. spec: dotted keys to values.
    source: of a transfer, the data set that the features were trained on, else empty. Then A, costs and spec are those
    of the run that they come from, and accuracies and epoch those of the head on `data`.
    """

    arm: str
    backend: str
    kind: str
    strategy: str
    size: int
    units: int
    total: int
    share: float
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    epoch: int
    n: int
    clean: Accuracy
    robust: Accuracy
    robust_a: Accuracy | None
    robust_b: Accuracy | None
    clean_a: Accuracy | None
    clean_b: Accuracy | None
    per_class: tuple[float | None, ...]
    counts: tuple[tuple[int, int, int], ...]
    attack_gradients: int
    training_gradients: int
    ranking_gradients: int
    full_at_gradients: int
    cost: float
    seconds: float
    data: str
    source: str
    threat: str
    attacks: str
    spec: dict[str, Any]

    @property
    def baseline(self) -> Baseline | None:
        """Which baseline the arm is; None for a proper subset."""
        return Baseline.of(self.size, self.total)

    @property
    def settings(self) -> dict[str, Any]:
        """What the arm depends on besides seed and members of A; a baseline knows no strategy, weights or ranking."""
        ignored = _NOT_COMPARED + _NOT_IN_BASELINE.get(self.baseline, ())
        return {"backend": self.backend} | {k: v for k, v in self.spec.items() if not k.startswith(ignored)}

    def over(self, name: str, classes: Iterable[int]) -> float | None:
        """`clean` or `robust` accuracy on the test images of `classes`; None if there are none."""
        counts = [self.counts[c] for c in classes]
        n = sum(count[0] for count in counts)
        return sum(count[("clean", "robust").index(name) + 1] for count in counts) / n if n else None


def collect(results: Iterable[dict[str, Any]]) -> list[Row]:
    """One row for each results.json, in that order. DataError names the arm whose results are not as expected."""
    rows = []
    for result in results:
        try:
            rows.append(row_of(result))
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            arm = result.get("arm", "?") if isinstance(result, dict) else "?"
            raise DataError(
                f"results.json of arm {arm!r}: expected the results of a finished arm "
                f"({type(error).__name__}: {error})\ndelete the file and start the study again"
            ) from error
    return rows


def row_of(result: dict[str, Any]) -> Row:
    """The row of one `results.json`."""
    origin = result.get("source") or result
    spec = flatten(origin["spec"])
    spec |= {key: value for key, value in DEFAULTS.items() if key not in spec}  # which an older version did not know
    split, data, cost = origin["split"], result["data"], origin["cost"]
    clean, robust, attacks = result["clean_accuracy"], result["robust_accuracy"], result["attacks"]
    names = tuple(attack["name"] for attack in attacks["breakdown"])
    suites = [f"AutoAttack {suite}" for suite, members in ATTACK_SETS.items() if members == names]
    engine = "" if attacks["engine"] == "package" else f" ({attacks['engine']} engine)"
    precision = attacks.get("precision", "float32")
    engine += "" if precision == "float32" else f" in {precision}"
    return Row(
        arm=result["arm"],
        backend=result["backend"],
        kind=split["kind"],
        strategy=split["strategy"],
        size=split["size"],
        units=split["units"],
        total=origin["data"]["train"],
        share=split["share"],
        classes=tuple(split["classes"]),
        class_names=tuple(data["classes"]),
        epoch=result["selection"]["epoch"],
        n=robust["all"]["n"],
        clean=_accuracy(clean["all"]),
        robust=_accuracy(robust["all"]),
        robust_a=_part(robust["A"]),
        robust_b=_part(robust["B"]),
        clean_a=_part(clean["A"]),
        clean_b=_part(clean["B"]),
        per_class=tuple(_value(entry) for entry in robust["per_class"]),
        counts=tuple(_counts(c, r) for c, r in zip(clean["per_class"], robust["per_class"], strict=True)),
        attack_gradients=cost["attack_gradients"],
        training_gradients=cost["training_gradients"],
        ranking_gradients=cost["ranking_gradients"],
        full_at_gradients=cost["full_at_gradients"],
        cost=(cost["attack_gradients"] + cost["training_gradients"]) / cost["full_at_gradients"],
        seconds=sum(s for s in result["cost"]["seconds"].values() if s is not None),
        data=data["name"],
        source="" if origin is result else origin["data"]["name"],
        threat=f"{attacks['norm']}, ε = {epsilon(attacks['eps'])}",
        attacks=(suites[0] if suites else " + ".join(names)) + engine,
        spec=spec,
    )


def _accuracy(entry: dict[str, float]) -> Accuracy:
    return from_json(Accuracy, entry)


def _part(entry: dict[str, float] | None) -> Accuracy | None:
    return None if entry is None else _accuracy(entry)


def _value(entry: dict[str, float] | None) -> float | None:
    return None if entry is None else entry["value"]


def _counts(clean: dict[str, float] | None, robust: dict[str, float] | None) -> tuple[int, int, int]:
    n = int(robust["n"]) if robust else 0
    correct, survived = (round(n * entry["value"]) if entry else 0 for entry in (clean, robust))
    return n, correct, survived
