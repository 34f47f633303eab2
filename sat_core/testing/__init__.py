"""The contract suite that every backend passes, and the wrong backends that must not.

A backend's test file::

    @pytest.mark.parametrize("check", backend_checks(), ids=str)
    def test_contract(check):
        check(MyBackend())
"""

from sat_core.testing import checks, input_checks, option_checks, plugin_checks, training_checks
from sat_core.testing.contract import CHECKS, Check, ContractError, backend_checks
from sat_core.testing.parity import PARITY, Parity
from sat_core.testing.wrong import FAULTS, wrong_backend

__all__ = [
    "CHECKS",
    "FAULTS",
    "PARITY",
    "Check",
    "ContractError",
    "Parity",
    "backend_checks",
    "checks",
    "input_checks",
    "option_checks",
    "plugin_checks",
    "training_checks",
    "wrong_backend",
]
