"""An experiment: settings, and the backend, device and data that they are run with. A folder belongs to one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, final

import attrs

from sat_core.data import DataSet
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten

WEIGHTS = "weights_fingerprint"
"""Key in the table [run]: SHA-256 of the files that ``model.weights`` names."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Experiment:
    """The settings of a ranking, an arm or a study, and everything else that its results depend on.

    Args:
        tables: The settings, as in ``spec.toml``.
        run: The table [run] of ``spec.toml``, as `run_table` makes it.
        data: Name of the data set.
    """

    tables: Mapping[str, Any]
    run: Mapping[str, str]
    data: str

    @property
    def run_without_weights(self) -> dict[str, str]:
        """The table [run] for experiments with the same backend, device and data."""
        return {key: value for key, value in self.run.items() if key != WEIGHTS}

    def fingerprint(self) -> str:
        """Return the SHA-256 of all settings, which every file of a run repeats.

        Keys with their default are left out, so that a key that a later version adds changes no fingerprint.
        """
        # As text, because 1 == 1.0, and a subset of one example is not one of all.
        # Of weights their content counts, wherever they lie.
        values = {key: json.dumps(value) for key, value in flatten({**self.tables, "run": self.run}).items()}
        if WEIGHTS in self.run:
            values.pop("model.weights", None)
        changed = {key: v for key, v in values.items() if key not in DEFAULTS or v != json.dumps(DEFAULTS[key])}
        return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """Return the text of ``spec.toml``."""
        import tomli_w

        return tomli_w.dumps({**self.tables, "run": self.run})


def run_table(backend: str, device: str, data: DataSet) -> dict[str, str]:
    """Return the table [run] of ``spec.toml``. Reads all images of `data`, whose fingerprint is in it."""
    return {"backend": backend, "device": device, "data_fingerprint": data.fingerprint()}
