"""The figures of the paper, and further experiments around it, as studies (docs/PROTOCOLS.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from sat_core.errors import SpecError, quoted
from sat_core.registry import unknown
from sat_evaluation.paper import published
from sat_evaluation.paper.appendix import APPENDIX, BY_CLASS, BY_EXAMPLE, single_classes
from sat_evaluation.paper.panels import ALL, Panel, PanelMaker, PaperFigure
from sat_evaluation.paper.scales import SCALES, Flat

_DATA = ("digits", "mnist5k", "cifar10", "cifar100", "imagenet200")


def _fig2(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar10"):
        yield single_classes(make, role, "fig2")


def _fig3(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles(*_DATA):
        yield attrs.evolve(make.study(role, "fig3", {}, [{}]), ranking=True)


def _fig4(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar10"):
        panel = make.study(role, "fig4", BY_CLASS, make.strategies(role, make.scale.four, ["hardest"]))
        yield attrs.evolve(panel, measures=("robust_b", "clean_b", *ALL))


def _fig5(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles(*_DATA):
        grids = make.strategies(role, make.scale.class_sizes, ["hardest", "easiest"])
        yield attrs.evolve(make.study(role, "fig5", BY_CLASS, grids), measures=("robust_b", "robust"))


def _fig6(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles(*_DATA):
        grids = make.strategies(role, make.scale.sizes, ["hardest", "easiest"])
        yield make.study(role, "fig6", BY_EXAMPLE, grids)


def _fig7(make: PanelMaker) -> Iterable[Panel]:
    for source, target in make.pairs([make.scale.weighed]):
        sizes = [0.0, *(make.scale.class_sizes if make.scale.name == "demo" else make.scale.sizes), 1.0]
        # of the hardest classes, which is the default; that the paper's are is INFERRED (docs/PROTOCOLS.md, Fig. 7)
        grid = {"weighting.rule": ["uniform", "balanced", "emphasised"], "subset.size": sizes}
        panel = make.study(source, "fig7", BY_CLASS, [grid], target)
        yield attrs.evolve(panel, of_source=("robust_a", "robust_b"), measures=("robust",))


def _transfers(name: str, settings: Flat, *, hardest_only: bool = False) -> Callable[[PanelMaker], Iterable[Panel]]:
    def make_panels(make: PanelMaker) -> Iterable[Panel]:
        for source, target in make.pairs(make.scale.pairs):
            sizes = make.scale.class_sizes if settings.get("subset.kind") == "classes" else make.scale.sizes
            grids = make.strategies(source, sizes, ["hardest", "easiest"])
            # the published single-step transfers are those of the hardest examples (the poster)
            if hardest_only:
                grids = [{"subset.size": [0.0, *sizes, 1.0]}]
            yield make.study(source, name, {**make.scale.source_checks, **settings}, grids, target)

    return make_panels


def _sweep(name: str, grid: Flat, settings: Flat | None = None, *roles: str) -> Callable[[PanelMaker], Iterable[Panel]]:
    def make_panels(make: PanelMaker) -> Iterable[Panel]:
        for role in make.roles(*(roles or ("digits", "cifar10"))):
            sizes = {"subset.size": [0.0, *make.scale.sweep, 1.0]}
            panel = make.study(role, name, settings or {}, [{**grid, **sizes}])
            by_class = (settings or {}).get("subset.kind") == "classes"
            yield attrs.evolve(panel, measures=("robust_b", "robust") if by_class else ALL)

    return make_panels


def _trades(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar10"):
        # the arms of Fig. 6, and beside each the same with TRADES; the attack follows from the loss
        plain = {"subset.size": [0.0, *make.scale.sizes, 1.0]}
        trades = {"loss.kind": ["trades"], "loss.beta": [[12.0, 6.0]], "subset.size": [*make.scale.sizes, 1.0]}
        yield make.study(role, "trades", BY_EXAMPLE, [plain, trades])


def _linf(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar10", "imagenet200"):
        settings = make.scale.linf.get(role, make.scale.linf[""])
        yield make.study(role, "linf", settings, [{"subset.size": [0.0, *make.scale.sweep, 1.0]}])


def _other_ranking(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar100"):
        for model in ("", make.scale.ranked_by):
            # the published study (public reviews) trains with RS-FGSM; see PROTOCOLS.md
            attack = {} if make.scale.name == "demo" else {"attack.kind": "rs-fgsm"}
            name = f"other-ranking-{model}" if model else "other-ranking"
            grid = {"subset.size": [0.0, *make.scale.sweep, 1.0]}
            yield make.study(role, name, {"ranking.model": model, **attack}, [grid])


def _svhn(make: PanelMaker) -> Iterable[Panel]:
    if "svhn" not in make.scale.data:
        raise SpecError(
            f"svhn: has no {make.scale.name} scale, its images are not embedded; take --scale short or paper"
        )
    # settings and size of the images are UNKNOWN (docs/PROTOCOLS.md): those of any other transfer
    grids = make.strategies("cifar100", make.scale.sizes, ["hardest", "easiest"])
    yield make.study("cifar100", "svhn", {}, grids, "svhn")


_FIGURES: dict[str, tuple[str, str, Callable[[PanelMaker], Iterable[Panel]]]] = {
    "fig2": ("One class is attacked (CSAT)", "classes", _fig2),
    "fig3": ("Difficulty of the classes", "difficulty", _fig3),
    "fig4": ("The hardest classes are attacked, against random ones (CSAT)", "curves", _fig4),
    "fig5": ("A part of the classes is attacked (CSAT)", "curves", _fig5),
    "fig6": ("A part of the examples is attacked (ESAT)", "curves", _fig6),
    "fig7": ("Three ways to weigh A, before a transfer (S-CSAT)", "curves", _fig7),
    "fig8": ("Transfer of features from examples attacked in part (S-ESAT)", "curves", _transfers("fig8", BY_EXAMPLE)),
    "rs-fgsm": (
        "A part of the examples is attacked in a single step (RS-FGSM)",
        "curves",
        _sweep("rs-fgsm", {}, {"attack.kind": "rs-fgsm"}, "digits", "cifar10", "cifar100"),
    ),
    "rs-fgsm-transfer": (
        "Transfer of features from examples attacked in a single step",
        "curves",
        _transfers("rs-fgsm-transfer", {"attack.kind": "rs-fgsm"}, hardest_only=True),
    ),
    "trades": ("The hardest examples are attacked, and trained on with TRADES (ESAT)", "curves", _trades),
    "linf": ("A part of the examples is attacked, L∞", "curves", _linf),
    "radii": (
        "The hardest classes are attacked, at three radii (CSAT)",
        "curves",
        # the three radii are in the reviews; data, A and step size are UNKNOWN (docs/PROTOCOLS.md)
        _sweep("radii", {"attack.eps": [0.25, 0.5, 1.0]}, BY_CLASS),
    ),
    "metrics": (
        "Other measures of difficulty (ESAT)",
        "curves",
        # error and variance are INFERRED, margin is ours (recipe, section 2)
        _sweep("metrics", {"ranking.metric": ["entropy", "error", "variance", "margin"]}),
    ),
    "other-ranking": ("A ranking made by another network (ESAT)", "curves", _other_ranking),
    "s-csat": (
        "Transfer of features from classes attacked in part (S-CSAT)",
        "curves",
        _transfers("s-csat", BY_CLASS),
    ),
    "svhn": ("Transfer of features to SVHN (S-ESAT)", "curves", _svhn),
    **APPENDIX,
}
PAPER_FIGURES = {name: title for name, (title, _, _) in _FIGURES.items()}
"""Names to titles."""


def paper_figure(
    name: str, scale: str, protocol: str, data: Mapping[str, str] | None = None, settings: Flat | None = None
) -> PaperFigure:
    """Return a figure of the paper, or a further experiment, with its studies.

    Args:
        name: A key of `PAPER_FIGURES`.
        scale: A key of `SCALES`.
        protocol: ``authors`` or ``paper``.
        data: Roles to data sets, as `parse_data` returns them.
        settings: Dotted keys that override those of the figure.

    Raises:
        SpecError: A name is unknown, or a study has settings that do not fit together.
    """
    if name not in _FIGURES:
        raise SpecError(unknown("figure", name, _FIGURES))
    if scale not in SCALES:
        raise SpecError(f"--scale: expected one of {', '.join(SCALES)}, got {quoted(scale)}")
    title, kind, panels = _FIGURES[name]
    # the released configurations of Fig. 2 are balanced, the paper's text has weights of 1
    single = name in ("fig2", "class-entropy")
    weights = "uniform" if single and protocol == "paper" else published.weights(name)
    maker = PanelMaker(SCALES[scale], protocol, weights, data or {}, settings or {})
    return PaperFigure(name=name, title=title, kind=kind, panels=tuple(panels(maker)))


def parse_data(arguments: Sequence[str], scale: str) -> dict[str, str]:
    """Read the arguments of ``--data``.

    Args:
        arguments: Each is a role of the scale, a role and the data set that stands for it (``cifar10=npz:PATH``), or
            another data set.
        scale: A key of `SCALES`.

    Returns:
        Roles to names of data sets.
    """
    standard = SCALES[scale].data if scale in SCALES else {}
    data = {}
    for text in arguments:
        role, equals, name = text.partition("=")
        if "?" in role or ":" in role:  # the = belongs to an option of the data set, or there is none
            role, equals, name = text.split("?")[0].split(":")[0], "=", text
        data[role] = name if equals else standard.get(role, role)
    return data
