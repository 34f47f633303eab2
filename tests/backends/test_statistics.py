"""Statistics of logits, from which difficulty is computed: those of the backends are the core's."""

from __future__ import annotations

from importlib import import_module

import attrs
import numpy as np
import pytest

from sat_core.backend import Backend
from sat_core.moments import STATISTICS, moments

pytestmark = pytest.mark.backend

CONVERT = {"torch": "as_tensor", "tensorflow": "convert_to_tensor"}


def test_statistics_of_any_logits_are_those_of_the_core(backend: Backend) -> None:
    """Also where a class has all the probability, where the label has none, and where a logit is -∞."""
    rng = np.random.default_rng(0)
    hard = [[40.0, 0.0, 0.0], [-1e4, 3.0, 2.0], [1e30, -1e30, 0.0], [-1e30, 1e30, 0.0], [2.0, -np.inf, 1.0]]
    hard += [[-np.inf, 1.0, 1.0], [5.0, 5.0, 5.0], [9.0, -np.inf, -np.inf]]
    for logits in (rng.normal(0, 5, (64, 10)).astype(np.float32), np.array(hard, np.float32)):
        labels = np.zeros(len(logits), np.int64)
        convert = getattr(import_module(backend.name), CONVERT[backend.name])
        computed = import_module(f"sat_{backend.name}.losses").moments(convert(logits), convert(labels))
        assert tuple(computed.shape) == (STATISTICS, len(logits))
        expected = moments(logits.astype(np.float64), labels)
        for (name, values), row in zip(attrs.asdict(expected).items(), np.asarray(computed), strict=True):
            np.testing.assert_allclose(row, values, rtol=1e-9, atol=1e-300, err_msg=name)
