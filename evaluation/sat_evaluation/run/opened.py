"""The network and the images of `sat evaluate`, opened: what is read, what is said of it, and names of files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sat_core import files
from sat_core.attack_spec import AttackSpec
from sat_core.data import Examples, check_files
from sat_core.errors import SpecError, quoted
from sat_core.fields import fraction
from sat_core.input_spec import InputSpec
from sat_core.networks import Network
from sat_core.splits import validation_permutation
from sat_core.threat import THREAT_MODELS
from sat_core.threat_grid import Threat
from sat_evaluation.run.view import View


def threats_of(norm: str, radii: Sequence[str], title: str, metadata: Mapping[str, Any]) -> list[Threat]:
    """Return the threat models, by default that of the training, as the metadata of weights say it; SpecError."""
    trained = metadata.get("attack")
    trained = trained if isinstance(trained, dict) else {}
    chosen = norm or trained.get("norm")
    eps: Sequence[Any] = radii or [trained.get("eps")]
    if chosen is None or None in eps:
        raise SpecError(f"{title}: does not say its threat model; give attack.norm and attack.eps")
    if not norm and chosen not in THREAT_MODELS:
        raise SpecError(
            f"{title}: was trained in the norm {quoted(chosen)}, which no loaded module brings; give --import with "
            "the module that does"
        )
    threats = [AttackSpec(norm=chosen, eps=each) for each in eps]
    # the ε of one norm says nothing in another: 0.5 is a usual radius in L2, and half of the range in Linf
    if not radii and chosen != trained.get("norm"):
        raise SpecError(f"attack.norm: {chosen} needs attack.eps, as the training was with {trained.get('norm')}")
    return [Threat(each.norm, each.eps) for each in threats]


def identity_of(network: Network) -> dict[str, Any]:
    """Return what is attacked, for ``results`` and the name of their file."""
    inputs = network.classifier.inputs.to_dict()
    return {
        "model": network.model or network.classifier.description.get("model", ""),
        "weights": {"file": network.path.name, "sha256": network.fingerprint()} if network.path else None,
        **{name: inputs.get(name) for name in ("mean", "std", "scaling")},
        "output": inputs.get("output", ""),
    }


def place_in(out: Path, data: str, ends: Sequence[str], identity: Mapping[str, Any]) -> Callable[..., Path]:
    """Return a function from words to the path of what they stand for, without suffix.

    Args:
        out: Folder of the files.
        data: Name of the data set.
        ends: More words that all names have.
        identity: Of the network: another network or other inputs have other names.
    """

    def place(*words: str) -> Path:
        name = "-".join([data, *words, *ends])
        name += f"-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]}"
        # the name of the data set may hold a path: of any length, and with slashes
        return out / files.short_name(re.sub("[^A-Za-z0-9.-]+", "-", name), of=name)

    return place


def shown_inputs(inputs: InputSpec) -> str:
    """Return what goes into a network whose weights are not ours, in one line."""
    steps, scaling = ["images in [0, 1]"], inputs.scaling
    if scaling is not None:
        steps.append(f"scaled to {scaling.size[0]} x {scaling.size[1]} ({scaling.interpolation})")
        steps += [] if scaling.crop == scaling.size else [f"centre {scaling.crop[0]} x {scaling.crop[1]}"]
    numbers = (", ".join(f"{value:.4g}" for value in values) for values in (inputs.mean, inputs.std))
    steps.append("minus {}, divided by {}".format(*numbers) if inputs.mean else "not normalised")
    return f"the network gets {', '.join(steps)}"


def numbers_of(name: str, values: Sequence[str]) -> tuple[float, ...]:
    """Return what --mean or --std says, per channel; SpecError if it is wrong."""
    numbers = tuple(map(fraction, values))
    least = 0.0 if name == "mean" else np.nextafter(0.0, 1.0)
    if not all(isinstance(value, float) and least <= value < np.inf for value in numbers):
        kind = f"numbers or fractions {'>=' if name == 'mean' else '>'} 0"
        raise SpecError(f"{name}: expected {kind}, as 0.5 or 1/255, got {quoted(' '.join(values))}")
    return numbers


def chosen_images(count: int | None, n: int) -> np.ndarray:
    """Return the positions of `count` of `n` images in the fixed random order, or of all; SpecError."""
    if count is not None and not 1 <= count <= n:
        raise SpecError(f"evaluation.examples: expected 1 to {n}, got {count}")
    # the order of studies (recipe, section 1.3): without validation images, its first ones picked the epoch there,
    # so that accuracies on a few images lean towards the epoch that was picked
    return np.arange(n) if count is None else validation_permutation(n)[:count]


def check_images(examples: Examples, view: View) -> None:
    """Look at each file of images that are decoded on request; DataError names those that are damaged."""
    # a damaged image is found now, not hours into the attack
    with view.checking_images() as count:
        check_files(examples, progress=count)
