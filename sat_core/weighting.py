"""Weights of A and B in the loss (paper, sections 3.2 and 4.3; recipe, section 1.2).

w_B = 1; if A or B is empty both are 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from sat_core.errors import SatError, SpecError, brief, quoted
from sat_core.registry import Registry


class WeightingRule(ABC):
    """Gives w_A as a function of |A| and N; w_B is 1."""

    name: str

    @abstractmethod
    def weight_of_a(self, in_a: int, total: int) -> float:
        """Return w_A for 0 < |A| < N.

        Args:
            in_a: |A|, the number of training examples in A.
            total: N, the number of all training examples.
        """

    def weights(self, in_a: int, total: int) -> tuple[float, float]:
        """Return (w_A, w_B); both are 1 where A or B is empty.

        Args:
            in_a: |A|, the number of training examples in A.
            total: N, the number of all training examples.

        Raises:
            SpecError: |A| is not in 0 … N, or the rule of a plug-in raises or gives no weight.
        """
        if not 0 <= in_a <= total:
            raise SpecError(f"weights: expected |A| in 0..{total}, got {in_a}")
        # With one part alone there is nothing to balance, and Σ w·ℓ / Σ w cancels any weight (INFERRED).
        if in_a in (0, total):
            return 1.0, 1.0
        try:
            given = self.weight_of_a(in_a, total)
            weight = float(given)
        except SatError:
            raise
        except Exception as error:  # a plug-in may raise anything
            raise SpecError(f"{WEIGHTING_RULES.kind} {self.name!r}: {brief(error)}") from error
        if not 0 < weight < math.inf:
            raise SpecError(
                f"{WEIGHTING_RULES.kind} {self.name!r}: expected w_A as a finite number > 0, got {quoted(given)}"
            )
        return weight, 1.0


class Uniform(WeightingRule):
    """w_A = 1: all examples weigh the same (paper, section 3.2)."""

    name = "uniform"

    def weight_of_a(self, in_a: int, total: int) -> float:
        return 1.0


class Balanced(WeightingRule):
    """w_A = |B| / |A|: both parts weigh the same."""

    name = "balanced"

    def weight_of_a(self, in_a: int, total: int) -> float:
        return (total - in_a) / in_a


class Emphasised(WeightingRule):
    """w_A = (1 + 10·|A|/N)·|B|/|A|: A weighs twice as much as B at 10 %, rising to ten times at 90 % (section 4.3)."""

    name = "emphasised"

    def weight_of_a(self, in_a: int, total: int) -> float:
        # The released configurations have 2, 3, …, 10 times the balance at 1, 2, …, 9 tenths; between them INFERRED.
        return (1 + 10 * in_a / total) * (total - in_a) / in_a


WEIGHTING_RULES: Registry[WeightingRule] = Registry("weighting rule", "sat_core.weighting_rules", of=WeightingRule)
for _rule in (Uniform(), Balanced(), Emphasised()):
    WEIGHTING_RULES.register(_rule.name, _rule)
