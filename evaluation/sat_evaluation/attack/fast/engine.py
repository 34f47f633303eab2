"""The fast engine: which searches make up an attack, on how many targets at a time. Used in the package's place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sat_core import __version__
from sat_core.autoattack import AttackSettings
from sat_core.errors import NotInstalledError, SpecError, install
from sat_core.geometry import get_geometry

if TYPE_CHECKING:
    import torch

    from sat_evaluation.attack.fast.search import Forward, Search
    from sat_evaluation.attack.package import Perturb

FULL = 64 * 3 * 32 * 32
"""Pixel values that fill the processor: so many are attacked at a time, towards several targets if examples are few."""
_OF_ATTACK = {"apgd-ce": 1, "apgd-dlr": 2, "apgd-t": 3, "fab-t": 4, "square": 5}
"""Part of the seed of each attack, so that no two draw alike."""


@final
class Fast:
    """What `packages.Package` is for the package."""

    title = f"sat-core {__version__}"

    def check(self, attacks: tuple[AttackSettings, ...]) -> None:
        """Raises NotInstalledError without torch, SpecError for an attack that this engine does not have."""
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise NotInstalledError(f"AutoAttack needs torch ({error}): {install('torch')}") from error
        for settings in attacks:
            if settings.name not in _OF_ATTACK:
                raise SpecError(
                    f"attacks: the engine 'fast' has {', '.join(_OF_ATTACK)}, and no {settings.name}\n"
                    "leave it out, or take the engine 'package'"
                )

    def attack(
        self, settings: AttackSettings, model: Forward, *, norm: str, eps: float, seed: int, **_: Any
    ) -> Perturb:
        """The attack of `settings` (see `plan`) on `model`, as a function of images `(n, c, h, w)` and labels.

        What is drawn depends on the seed, the attack, and the restart and target that it is for, and is the same for
        all examples: which others are in the batch changes nothing but rounding.
        """
        from sat_evaluation.attack.fast.search import TINY, Ops, Search

        geometry = get_geometry(norm, Ops(), TINY)

        def perturb(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            search = Search(model, x, y, geometry, eps)
            _run(settings, search, [seed, _OF_ATTACK[settings.name]])
            return search.adversarial

        return perturb


def _run(settings: AttackSettings, search: Search, seed: list[int]) -> None:
    import torch

    from sat_evaluation.attack.fast.apgd import apgd
    from sat_evaluation.attack.fast.fab import fab
    from sat_evaluation.attack.fast.square import square

    name, shape = settings.name, tuple(search.x.shape[1:])
    iterations, targets = settings.iterations or 0, settings.target_classes or 0
    if name == "square":
        square(search, settings.queries or 0, np.random.default_rng(seed))
        return
    for restart in range(settings.restarts):
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([*seed, restart]).generate_state(1)[0]))
        if name in ("apgd-ce", "apgd-dlr"):
            start, owner = search.noise(shape, generator), search.alive()
            if len(owner):
                apgd(search, name.removeprefix("apgd-"), owner, None, start, iterations)
            continue
        starts = torch.cat([search.noise(shape, generator) for _ in range(targets)])
        for owner, target, rank in _groups(search, targets):
            if name == "apgd-t":
                apgd(search, "dlr", owner, target, starts[rank], iterations)
            else:
                fab(search, owner, target, starts[rank] / 2 if restart else None, iterations)


def _groups(search: Search, targets: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Owner, target class and its rank for each row, the likeliest classes first, of what is not broken by then."""
    import torch

    logits = search.forward(search.x).scatter(1, search.y[:, None], -torch.inf)
    rows = FULL // search.x[0].numel()
    ranked = logits.argsort(dim=1, descending=True, stable=True)[:, :targets]
    done = 0
    while done < targets:
        owner = search.alive()
        if len(owner) == 0:
            return
        ranks = torch.arange(done, min(done + max(rows // len(owner), 1), targets), device=owner.device)
        done = int(ranks[-1]) + 1
        owner, rank = owner.repeat(len(ranks)), ranks.repeat_interleave(len(owner))
        yield owner, ranked[owner, rank], rank
