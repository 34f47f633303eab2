"""The attacks of training, as what they have in common: steps, start, projection. Backends compute them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, final

import attrs

from sat_core.errors import SpecError
from sat_core.functions import PerBackend
from sat_core.registry import Registry


@final
@attrs.frozen(kw_only=True)
class AttackKind(PerBackend):
    """An attack as ``attack.kind`` names it.

    Attributes:
        name: In the registry.
        steps: Number of gradient steps by default: 1; with `functions` it must be given, or `single`, as it says how
            many gradients they take, by which costs are counted.
        single: Whether it has one step whatever is set.
        step_size: Length of a step by default, in units of ε; None for that of the norm (`ThreatModel.step_size`).
        random_start: Whether it starts from a random point by default.
        start: Radius of that start, in units of ε.
        projects: Whether each step ends inside the ε-ball. Without, δ has at most `start` + steps · step size.
        replays: How often each batch is trained on by default; above 1 the step of the weights gives the attack its
            gradient, too (Free-AT), and there is no other step.
        functions: Of an attack that is not projected gradient ascent: per backend
            ``function(gradient, images, labels, attack, start)``, which returns adversarial images; native tensors.
            ``gradient(images)`` returns losses `(n,)` and the gradient of their sum; `attack` is the `AttackSpec`, and
            `start` δ of the random start, or None.
    """

    kind: ClassVar[str] = "attack"

    name: str
    single: bool = False
    step_size: float | None = 1.0
    random_start: bool = False
    start: float = 1.0
    projects: bool = True
    replays: int = 1
    functions: Mapping[str, str | Callable[..., Any]] = attrs.field(factory=dict)
    steps: int = attrs.field()  # last, as its default looks at others

    @steps.default
    def _get_steps(self) -> int:
        if self.functions and not self.single:
            raise SpecError(
                f"attack {self.name!r}: expected steps, the number of gradients that its functions take, got none; as "
                f"AttackKind(name={self.name!r}, steps=10, functions=...)"
            )
        return 1

    def needs_function(self, backend: str) -> bool:
        """See `PerBackend`: projected gradient ascent needs none."""
        return bool(self.functions)


ATTACKS: Registry[AttackKind] = Registry("attack", "sat_core.attacks", of=AttackKind)
for _kind in (
    AttackKind(name="pgd", steps=7, step_size=None),
    AttackKind(name="fgsm", single=True),
    # Wong et al. 2020, section 4.1: α = 1.25 ε; 3.75 of 3.0 in the authors' code
    AttackKind(name="rs-fgsm", single=True, step_size=1.25, random_start=True),
    # de Jorge et al. 2022, Eq. 5: noise of k ε with k = 2, one step of ε from there, no projection
    AttackKind(name="n-fgsm", single=True, random_start=True, start=2.0, projects=False),
    # Shafahi et al. 2019, algorithm 1, with m = 8
    AttackKind(name="free", single=True, replays=8),
):
    ATTACKS.register(_kind.name, _kind)
