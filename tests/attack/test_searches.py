"""The fast engine's searches on a linear network, whose distances to all decision boundaries are known.

What is asserted follows from these distances and holds for any rounding.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sat_core.autoattack import AttackSettings
from sat_core.errors import SpecError
from sat_evaluation.attack.fast import search
from sat_evaluation.attack.fast.apgd import windows
from sat_evaluation.attack.fast.engine import Fast
from sat_evaluation.attack.fast.fab import to_hyperplane

pytestmark = pytest.mark.torch

NORMS = {"L2": 2.0, "Linf": torch.inf}
ATTACKS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")
CLASSES, IMAGES = 5, 64
ITERATIONS, QUERIES = 100, 3000


class Linear:
    """A linear network, images of 8 x 8 pixels far from 0 and 1, and all batches that the network was given.

    The weights of the classes are orthogonal, so each image can be put at a chosen L2 distance from every other class.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        rows = np.linalg.qr(rng.standard_normal((64, CLASSES)))[0].T
        shares = rng.permuted(np.tile([0, 1, 1.2, 1.5, 2], (IMAGES, 1)), axis=1)
        distances = np.geomspace(0.01, 0.3, IMAGES)[:, None] * shares  # to each class, 0 to the image's own
        images = 0.5 - np.sqrt(2) * distances @ rows
        self.x, self.y = torch.from_numpy(images).float().reshape(-1, 1, 8, 8), torch.from_numpy(distances.argmin(1))
        across = np.abs(rows[self.y][:, None] - rows).sum(axis=2)
        shorter = np.divide(np.sqrt(2) * distances, across, where=across > 0, out=0 * across)
        self.distances = {
            norm: torch.from_numpy(np.where(shares == 0, np.inf, d).min(axis=1))
            for norm, d in (("L2", distances), ("Linf", shorter))
        }
        self.weights, self.asked = torch.from_numpy(20 * rows).float(), []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append(x.detach().clone())
        return (x - 0.5).flatten(1) @ self.weights.T

    def attacked(self, name: str, norm: str, eps: float, rows: list[int], **settings: int) -> torch.Tensor:
        """Adversarial images of the images `rows`, or the images themselves."""
        self.asked.clear()
        seed = settings.pop("seed", 0)
        budget = {
            "iterations": ITERATIONS,
            "queries": QUERIES,
            "restarts": 1,
            "target_classes": CLASSES - 1,
            **settings,
        }
        with torch.no_grad():
            attack = Fast().attack(AttackSettings(name=name, **budget), self, norm=norm, eps=eps, seed=seed)
            return attack(self.x[rows], self.y[rows])


@pytest.fixture
def linear() -> Linear:
    return Linear()


def size(delta: torch.Tensor, norm: str) -> torch.Tensor:
    """Norm of each δ, `(n,)`."""
    return torch.linalg.vector_norm(delta.flatten(1), NORMS[norm], dim=1)


REACH = {"apgd-ce": 0.6, "square": 0.4}
"""Share of eps within which an attack finds what there is, 0.95 for those that are not listed: cross-entropy may climb
towards a class that is farther, and random search ends before it is done."""


@pytest.mark.parametrize("interval", [1, search.LOOK])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_what_the_ball_contains_is_found_and_nothing_else(
    linear: Linear, name: str, norm: str, interval: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the search looks at its rows in every iteration, as on a CPU, or seldom, as on a GPU."""
    monkeypatch.setattr(search, "interval", lambda device: interval)
    eps = float(linear.distances[norm].median())
    share = linear.distances[norm] / eps
    adversarial = linear.attacked(name, norm, eps, list(range(IMAGES)))
    broken = size(adversarial - linear.x, norm) > 0
    assert broken[share < REACH.get(name, 0.95)].all()
    assert (share[broken] < 1.001).all()
    assert size(adversarial - linear.x, norm).max() < 1.001 * eps
    assert torch.equal(linear(adversarial).argmax(1) != linear.y, broken)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr"])
def test_apgd_makes_its_steps_as_small_as_they_have_to_be(
    name: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only points near a centre inside the ball are misclassified: the first steps, of 2 eps, go past them."""
    monkeypatch.setattr(search, "PATIENCE", np.inf)
    eps, image = 0.2, torch.full((1, 1, 8, 8), 0.5)
    for seed in range(8):
        away = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, image.shape)).float()
        centre = image + 0.5 * eps * (away / size(away, "L2") if norm == "L2" else away)
        radius = 0.1 * eps * (1 if norm == "L2" else 64**0.5 * 3**-0.5)

        def well(x: torch.Tensor, centre: torch.Tensor = centre, radius: float = radius) -> torch.Tensor:
            far = (x - centre).square().flatten(1).sum(dim=1)
            return 10 * torch.stack([far, torch.full_like(far, radius**2), torch.full_like(far, -1)], dim=1)

        settings = AttackSettings(name=name, iterations=ITERATIONS)
        with torch.no_grad():
            adversarial = Fast().attack(settings, well, norm=norm, eps=eps, seed=seed)(image, torch.tensor([0]))
        assert size(adversarial - centre, "L2") <= 1.01 * radius


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_searches_that_get_nowhere_stop(linear: Linear, name: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near images are broken with any patience; far ones cost several times less without it."""
    distances = linear.distances[norm]
    eps = float((distances.min() * distances.max()).sqrt())
    near, far = distances < 0.4 * eps, distances > 4 * eps
    rows, queries = (near | far).nonzero()[:, 0].tolist(), []
    for patience in (search.PATIENCE, np.inf):
        monkeypatch.setattr(search, "PATIENCE", patience)
        adversarial = linear.attacked(name, norm, eps, rows)
        assert torch.equal(size(adversarial - linear.x[rows], norm) > 0, near[rows])
        queries.append(sum(map(len, linear.asked)))
    assert queries[0] < queries[1] / 2


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS[:-1])
def test_restarts_draw_anew_for_what_is_left(
    linear: Linear, name: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PATIENCE", np.inf)
    eps = 5 * float(linear.distances[norm].min())
    linear.attacked(name, norm, eps, [0, IMAGES - 1], iterations=5, restarts=3, target_classes=1)
    ranked = name.endswith("-t")  # the targeted ask first which classes are the likeliest
    runs = [linear.asked[start + ranked :][:6] for start in range(0, len(linear.asked), 6 + ranked)]
    assert [[len(batch) for batch in run] for run in runs[1:]] == [[1] * 6] * 2
    assert [len(batch) for batch in runs[0]] in [[2] * i + [1] * (6 - i) for i in range(1, 6)]
    starts = [run[0][-1:] - linear.x[-1:] for run in runs]
    lengths = [1.0] * 3 if name != "fab-t" else [0.0, 0.5, 0.5]  # FAB starts from the image itself
    assert [float(size(start, norm) / eps) for start in starts] == pytest.approx(lengths, abs=1e-3)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert size(starts[one] - starts[other], norm) > 0.1 * eps


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_example_is_attacked_alike_in_every_batch(linear: Linear, name: str, norm: str) -> None:
    """Random draws depend on the seed, not on the other examples of the batch."""
    eps, rows = float(linear.distances[norm][0]), list(range(IMAGES - 8, IMAGES))
    drawn, short = int(name not in ("apgd-ce", "apgd-dlr")), {"iterations": 1, "queries": 1, "target_classes": 1}
    queries = {}
    for seed in (0, 1):
        linear.attacked(name, norm, eps, rows, seed=seed, **short)
        queries[seed] = linear.asked[drawn]  # the start, or the first square; the targeted ask for a ranking before it
        for place, row in enumerate(rows):
            linear.attacked(name, norm, eps, [row], seed=seed, **short)
            torch.testing.assert_close(linear.asked[drawn][0], queries[seed][place], atol=1e-5, rtol=0)
    changed = size(queries[0] - queries[1], norm) > 0.1 * eps
    assert torch.equal(changed, torch.full_like(changed, name != "fab-t"))  # FAB's first run starts from the image


def test_a_square_that_changes_nothing_is_not_asked() -> None:
    """All numbers are multiples of 1/4: nothing is rounded, and how many squares change nothing is certain."""
    queried: list[torch.Tensor] = []

    def dark(x: torch.Tensor) -> torch.Tensor:
        queried.append(x.clone())
        return torch.stack([x.flatten(1).sum(dim=1), torch.zeros(len(x))], dim=1)  # class 0, whatever the square

    image = torch.full((1, 1, 8, 8), 0.5)
    queries = {}
    for norm in NORMS:
        queried.clear()
        Fast().attack(AttackSettings(name="square", queries=500), dark, norm=norm, eps=0.25, seed=0)(
            image, torch.zeros(1, dtype=torch.int64)
        )
        queries[norm] = len(queried)
        best = queried[0]
        for tried in queried[1:]:
            assert norm == "L2" or not torch.equal(tried, best)
            best = tried if tried.sum() < best.sum() else best
    assert queries["L2"] == 500 + 1
    assert queries["Linf"] < 0.7 * queries["L2"]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_norm_that_the_engine_does_not_know_is_refused(linear: Linear, name: str) -> None:
    with pytest.raises(SpecError, match=r"^norm: expected L2 or Linf with the engine 'fast', got 'L1'"):
        linear.attacked(name, "L1", 0.1, [0])


def test_checks_of_apgd_come_ever_sooner() -> None:
    assert windows(100) == [22, 19, 16, 13, 10, 7, 6, 6, 1]  # the paper's 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, …
    assert [sum(windows(n)) for n in (1, 5, 10, 33)] == [1, 5, 10, 33]


@pytest.mark.parametrize("norm", NORMS)
def test_the_step_to_a_hyperplane_is_the_smallest(norm: str) -> None:
    """It is on the hyperplane where the box meets that, else in a corner; no other such point of the box is nearer."""
    draw = torch.Generator().manual_seed(0)
    points = (torch.rand(40, 48, generator=draw) * 2 - 0.5).clamp(0, 1)
    w, missing = torch.randn(points.shape, generator=draw), torch.randn(40, generator=draw) * 4
    missing[0], missing[1] = 1e4, -1e4
    d = to_hyperplane(norm, points, w, missing)
    assert ((points + d).min(), (points + d).max()) == (0, 1)
    torch.testing.assert_close((w * d).sum(dim=1)[2:], missing[2:], atol=1e-4, rtol=0)
    torch.testing.assert_close((points + d)[0], (w[0] > 0).float())
    torch.testing.assert_close((points + d)[1], (w[1] < 0).float())
    order = NORMS[norm]
    size = d.norm(order, dim=1)[2:]
    for _ in range(20):  # others on the plane: corrected from somewhere else
        other = (points + 0.1 * torch.randn(points.shape, generator=draw)).clamp(0, 1)
        there = other - points + to_hyperplane("L2", other, w, missing - (w * (other - points)).sum(dim=1))
        assert (there.norm(order, dim=1)[2:] >= size - 1e-5).all()
