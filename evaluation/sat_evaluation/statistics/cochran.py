"""Cochran's Q: whether several networks are right on as many of the same images."""

from __future__ import annotations

from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.checks import flags, same_images


@final
@attrs.frozen(kw_only=True)
class CochranQ:
    """Cochran's Q of k arms on the same images; McNemar's test for more than two.

    Attributes:
        n: Images.
        arms: k.
        informative: Images on which not all arms agree; the others say nothing.
        q: The statistic; 0 if no image is informative.
        p: From the χ² distribution with k - 1 degrees of freedom. Its type-I error is 4 to 6 % with 24 informative
            images and more (Tate and Brown 1970).
    """

    n: int
    arms: int
    informative: int
    q: float
    p: float


def cochran_q(arms: object) -> CochranQ:
    """Test whether k arms are right on equally many of the same images (Cochran 1950).

    Q = (k - 1) (k Σ_j C_j² - T²) / (k T - Σ_i R_i²), with the sums C_j of each arm, R_i of each image, T of all.

    Args:
        arms: Flags, k >= 2 arrays bool `(n,)`, n >= 1.

    Raises:
        DataError: They are not flags of the same images, or of less than 2 arms.
    """
    from scipy.special import chdtrc

    rows = [flags("cochran_q", arm) for arm in arms] if hasattr(arms, "__iter__") else []
    if len(rows) < 2:
        raise DataError(f"cochran_q: expected at least 2 arms, got {len(rows)}")
    n, k = same_images("cochran_q", rows), len(rows)
    table = np.stack(rows).astype(np.int64)
    of_arm, of_image, total = table.sum(1), table.sum(0), int(table.sum())
    informative = (of_image > 0) & (of_image < k)
    q = 0.0
    if informative.any():
        q = (k - 1) * (k * int((of_arm**2).sum()) - total**2) / (k * total - int((of_image**2).sum()))
    return CochranQ(n=n, arms=k, informative=int(informative.sum()), q=q, p=float(chdtrc(k - 1, q)))
