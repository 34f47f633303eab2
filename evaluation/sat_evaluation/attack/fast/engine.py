"""The fast engine: which searches make up an attack, and on how many target classes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sat_core import __version__
from sat_core.autoattack import AttackSettings, check_norm
from sat_core.errors import NotInstalledError, SpecError, install
from sat_core.geometry import get_geometry

if TYPE_CHECKING:
    import torch

    from sat_evaluation.attack.fast.search import Forward, Search
    from sat_evaluation.attack.package import Perturb

FULL = 64 * 3 * 32 * 32
"""Pixel values that keep a CPU busy: 64 images of 32 x 32. If fewer examples are left, several target classes are
attacked in one batch. A GPU needs thirty times as many, see `Classifier.images_at_once`."""
_STREAMS = {"apgd-ce": 1, "apgd-dlr": 2, "apgd-t": 3, "fab-t": 4, "square": 5}
"""Part of the seed of each attack, so that no two draw the same numbers."""


@final
class Fast:
    """The engine "fast", with the interface of `sat_evaluation.attack.package.Package`."""

    title = f"sat-core {__version__}"

    def __init__(self) -> None:
        self.rows: int | None = None

    def at_most(self, rows: int) -> None:
        """Attack so many rows at a time, an example towards a target class each, in place of `FULL`."""
        self.rows = rows

    def check(self, attacks: tuple[AttackSettings, ...]) -> None:
        """Refuse what this engine cannot run.

        Raises:
            NotInstalledError: without torch.
            SpecError: for an attack that this engine does not have.
        """
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise NotInstalledError(f"AutoAttack needs torch ({error}): {install('torch')}") from error
        for settings in attacks:
            if settings.name not in _STREAMS:
                raise SpecError(
                    f"attacks: the engine 'fast' has {', '.join(_STREAMS)}, and no {settings.name}\n"
                    "leave it out, or take the engine 'package'"
                )

    def attack(
        self, settings: AttackSettings, model: Forward, *, norm: str, eps: float, seed: int, **_: Any
    ) -> Perturb:
        """Prepare an attack.

        What is drawn depends on the seed, the attack, the restart and the target class, and is the same for all
        examples, so that the other examples in the batch change nothing but rounding.

        Args:
            settings: of the attack; see `sat_evaluation.attack.plan`.
            model: images to logits, with gradients.
            norm: L2 or Linf.
            eps: radius, in units of [0, 1] pixels.
            seed: of all draws.

        Returns:
            A function of images `(n, c, h, w)` and labels `(n,)` that returns adversarial images.

        Raises:
            SpecError: for a norm that this engine does not know.
        """
        from sat_evaluation.attack.fast.search import TINY, Ops, Search

        check_norm(norm, "fast")
        geometry = get_geometry(norm, Ops(), TINY)

        def perturb(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            search = Search(model, x, y, geometry, eps)
            rows = FULL // x[0].numel() if self.rows is None else self.rows
            _run(settings, search, [seed, _STREAMS[settings.name]], rows)
            return search.adversarial

        return perturb


def _run(settings: AttackSettings, search: Search, seed: list[int], rows: int) -> None:
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
        # on the CPU, so that every device gets the same numbers. The seed is a hash of all its parts: with a sum,
        # restart 1 of seed 0 would draw what restart 0 of seed 1 draws
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([*seed, restart]).generate_state(1)[0]))
        if name in ("apgd-ce", "apgd-dlr"):
            start, owner = search.noise(shape, generator), search.alive()
            if len(owner):
                apgd(search, name.removeprefix("apgd-"), owner, None, start, iterations)
            continue
        # for all ranks before any is attacked: what a rank starts from must not depend on what is broken by then
        starts = torch.cat([search.noise(shape, generator) for _ in range(targets)])
        for owner, target, rank in _groups(search, targets, rows):
            if name == "apgd-t":
                apgd(search, "dlr", owner, target, starts[rank], iterations)
            else:
                # the first run starts from the image itself, restarts at ε / 2 from it, both as in the package
                fab(search, owner, target, starts[rank] / 2 if restart else None, iterations)


def _groups(search: Search, targets: int, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches of `rows` rows, each an example that is not broken by then, a target class, and the rank of that class.

    The likeliest classes come first: most examples break there, and cost nothing afterwards.
    """
    import torch

    # of all examples, broken ones too, because owners are numbers within the whole batch
    logits = search.forward(search.x).scatter(1, search.y[:, None], -torch.inf)
    ranked = logits.argsort(dim=1, descending=True, stable=True)[:, :targets]
    done = 0  # target classes
    while done < targets:
        owner = search.alive()
        if len(owner) == 0:
            return
        until = min(done + max(rows // len(owner), 1), targets)
        ranks, done = torch.arange(done, until, device=owner.device), until
        owner, rank = owner.repeat(len(ranks)), ranks.repeat_interleave(len(owner))
        yield owner, ranked[owner, rank], rank
