"""The model card of an export: its README.md, made from the results of the arm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sat_core.accuracy import Accuracy
from sat_core.arm_results import ArmResults
from sat_core.exported import Exported
from sat_core.plain_code import PlainCode
from sat_core.version import VERSION
from sat_evaluation.publish.front_matter import front_matter, licence_fields
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.results.text import epsilon, percent, public_name, shown

_CLASSES = 20
"""Most classes that are listed one by one."""
_PAPER = """@inproceedings{losch2024adversarial,
  title     = {On Adversarial Training without Perturbing all Examples},
  author    = {Losch, Max and Omran, Mohamed and Stutz, David and Fritz, Mario and Schiele, Bernt},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2024},
  url       = {https://openreview.net/forum?id=pE6gWrASQm}
}"""
_SOFTWARE = f"""@software{{satcore,
  title   = {{sat-core}},
  author  = {{{{The sat-core authors}}}},
  version = {{{VERSION}}}
}}"""


def card(
    exported: Exported, results: ArmResults | None, code: PlainCode | None, *, licence: str = "", onnx: bool = False
) -> str:
    """Return the text of a model card.

    Args:
        exported: What ``config.json`` says.
        results: Of the arm; None where nothing was measured.
        code: How the network is loaded without us; None where that is not known.
        licence: Of the network; empty where nobody has chosen one.
        onnx: Whether the folder has a ``model.onnx``.
    """
    row = collect([results])[0] if results else None
    sections = [
        f"# {_title(exported, row)}",
        _summary(exported, row),
        *(_accuracy(results, row) if results and row else ["No accuracy was measured when this folder was made."]),
        *_loading(exported, code, onnx),
        *(_training(results, row) if results and row else ()),
        *_limits(row),
        *_versions(exported),
        *_licence(licence),
        "## Citation",
        f"The method:\n\n```bibtex\n{_PAPER}\n```",
        f"The software:\n\n```bibtex\n{_SOFTWARE}\n```",
    ]
    return front_matter(_fields(exported, row, licence)) + "\n" + "\n\n".join(sections) + "\n"


def _fields(exported: Exported, row: Row | None, licence: str) -> dict[str, Any]:
    framework = {"torch": ["pytorch"], "tensorflow": ["keras", "tensorflow"]}.get(exported.backend, [])
    fields: dict[str, Any] = {
        **licence_fields(licence),
        "library_name": "sat-core",
        "pipeline_tag": "image-classification",
        "tags": ["adversarial-robustness", "adversarial-training", "subset-adversarial-training", *framework],
    }
    if row is None:
        return fields
    data = public_name(row.source or row.data)
    # The hub's names of data sets; a name such as npz:cats.npz is none.
    identifier = re.sub(r"[^\w./-]+", "-", data.rpartition(":")[2] or data)
    metrics = [
        {"type": "accuracy", "value": round(100 * row.clean.value, 2), "name": "Clean accuracy (%)"},
        {
            "type": "accuracy",
            "value": round(100 * row.robust.value, 2),
            "name": f"Robust accuracy (%), {row.attacks}, {row.threat}",
        },
    ]
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"name": data, "type": identifier, "split": "test"},
        "metrics": metrics,
    }
    index = [{"name": shown(_title(exported, row).replace("\\", ""), 200), "results": [result]}]
    return {**fields, "datasets": [identifier], "metrics": ["accuracy"], "model-index": index}


def _title(exported: Exported, row: Row | None) -> str:
    model = _plain(exported.model.partition("?")[0].rpartition(":")[2] or "Network")
    return f"{model} on {_plain(public_name(row.data))}, {row.threat}" if row else model


def _summary(exported: Exported, row: Row | None) -> str:
    h, w, c = exported.inputs.image_shape
    channels = f"{c} channels" if c > 1 else "one channel"
    takes = f"It sorts images of {h} x {w} pixels and {channels} into {exported.inputs.classes} classes."
    if row is None:
        return f"An image classifier, exported by sat-core. {takes}"
    data = _plain(public_name(row.data))
    if row.source:
        how = f"A head for {data} on features trained on {_plain(public_name(row.source))} with"
    else:
        how = f"Trained on {data} with"
    if row.baseline:
        method = f"{how} {row.baseline.label}."
    else:
        method = (
            f"{how} Subset Adversarial Training: adversarial examples were made for {percent(row.share)} of the "
            f"training images, at {percent(row.cost)} of the gradient evaluations of full adversarial training."
        )
    return f"{method} {takes}"


def _accuracy(results: ArmResults, row: Row) -> Iterator[str]:
    yield "## Accuracy"
    robust = [row, *(at for level in results.levels if (at := row.at(level.attacks.level)))]
    yield _table(
        ("", "accuracy", "95 % interval", "images", "measured by"),
        [
            ("clean", *_shown(row.clean), "images as they are"),
            *(("robust", *_shown(each.robust), f"{each.attacks}, {each.threat}") for each in robust),
        ],
    )
    yield (
        "Robust accuracy is the share of test images that are classified correctly as they are and after every attack; "
        "ε is in units of [0, 1] pixels. None of these images picked the epoch."
    )
    clean, attacked, names = results.clean.per_class, results.robust.per_class, results.data.classes
    if clean and attacked and len(names) <= _CLASSES:
        per_class = zip(names, clean, attacked, strict=True)
        lines = [(_plain(name), _cell(c), _cell(r), c.n if c else 0) for name, c, r in per_class]
        yield _table(("class", "clean", "robust", "images"), lines)
    if results.all_warnings:
        yield "What the training and the evaluation warned of:\n\n" + "\n".join(
            f"- {_plain(line)}" for line in results.all_warnings
        )


def _loading(exported: Exported, code: PlainCode | None, onnx: bool) -> Iterator[str]:
    own = ":" not in exported.model and exported.model
    factory = ":" in exported.model and not exported.zoo
    model = f', model="{exported.model}"' if factory else "" if own or exported.zoo else ", model=the_network"
    yield "## Use it"
    yield (
        "With sat-core, ready to be classified with and attacked:\n\n```python\n"
        f'import sat_core as sat\n\nclassifier = sat.load_model("."{model})\n'
        "labels = classifier.logits(images).argmax(1)  # images (n, h, w, c), uint8 or float32 in [0, 1]\n```"
    )
    if code is not None:
        yield (
            f"Without it, in this folder; this needs {code.framework} and safetensors. `images` are {code.images}, and "
            f"all that the network needs is done to them inside.\n\n```python\n{code.lines}```"
        )
    if onnx:
        yield "`model.onnx` is the same network for ONNX runtimes: `images` float32 (n, c, h, w) in [0, 1] to `logits`."


def _training(results: ArmResults, row: Row) -> Iterator[str]:
    spec, trained = row.spec, results.trained
    chosen = f"{row.strategy} {trained.split.kind}"
    classes = ", ".join(_plain(trained.data.classes[c]) for c in trained.split.classes[:_CLASSES])
    ranking = row.cost_with_ranking - row.cost
    lines = [
        ("data", f"{_plain(public_name(row.source or row.data))}, {row.total:,} training images"),
        ("threat model", f"{spec['attack.norm']}, ε = {epsilon(spec['attack.eps'])}"),
        ("attack in training", f"{spec['attack.kind']}, {spec['attack.steps']} steps"),
        ("\\|A\\|, the attacked part", f"{row.size:,} images, {percent(row.share)}"),
        *([] if row.baseline else [("chosen by", chosen), *([("classes in A", classes)] if classes else [])]),
        ("weights of A and B", f"{spec['weighting.rule']}: {' and '.join(f'{w:.4g}' for w in trained.split.weights)}"),
        ("cost", f"{percent(row.cost)} of the gradient evaluations of full adversarial training"),
        *([("cost of the ranking", f"{percent(ranking)} more")] if ranking else []),
        *_start(spec),
        *([] if spec["loss.kind"] == "ce" else [("loss of A", spec["loss.kind"])]),
        ("epoch", f"{row.epoch} of {results.epochs}, picked by robust accuracy on other images"),
        ("precision", spec["training.precision"]),
        ("seeds", ", ".join(f"{name} {seed}" for name, seed in results.seeds.items() if seed is not None)),
        ("computed by", f"{results.backend} on {results.device}"),
    ]
    yield "## Training"
    yield _table(("", ""), [(name, shown(value, 200)) for name, value in lines])


def _start(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Say which weights the training began with, and what it trained, if these are not all that is trained anew."""
    name, weights = spec["model.name"], spec.get("model.weights", "")
    if weights:
        # Without the folders of whoever trained.
        yield "weights at the start", _plain(re.split(r"[/\\\\]", weights.rstrip("/"))[-1])
    elif "pretrained" in name.partition("?")[2]:
        yield "weights at the start", _plain(f"those of {name}")
    if spec.get("model.layers", "all") != "all":
        yield "trained layers", _plain(spec["model.layers"])


def _limits(row: Row | None) -> Iterator[str]:
    yield "## Intended use and limits"
    threat = f"{row.threat} and the attacks above" if row else "the attacks that it is tested with"
    yield "\n".join(
        (
            "- For research on robustness, and as a start for networks of one's own.",
            f"- Robust accuracy holds for {threat}: other norms, larger radii, and changes such as rotations or "
            "weather are not covered, and a stronger attack may find more.",
            "- It is an empirical number, no certificate. Images unlike those of the training data get an answer, too.",
            "- Accuracies differ between classes, most where adversarial examples were made for some of them only.",
        )
    )


def _versions(exported: Exported) -> Iterator[str]:
    yield "## Versions"
    yield ", ".join(f"{_plain(name)} {_plain(version)}" for name, version in sorted(exported.version.items()))


def _licence(licence: str) -> Iterator[str]:
    yield "## Licence"
    if licence:
        yield f"{_plain(licence)}."
    else:
        yield "Unknown: who made this folder has not named one. `sat export --licence NAME` does."


def _shown(accuracy: Accuracy) -> tuple[str, str, str]:
    interval = f"{100 * accuracy.low:.1f} to {100 * accuracy.high:.1f} %"
    return percent(accuracy.value, 1), interval, f"{accuracy.n:,}"


def _cell(accuracy: Accuracy | None) -> str:
    return "-" if accuracy is None else percent(accuracy.value, 1)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _plain(text: str) -> str:
    """Return a name from data as text that is neither Markdown nor HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", shown(text, 120))
