"""Networks of timm, torchvision and RobustBench by name; the libraries are imported when one is asked for."""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sat_core.errors import NotInstalledError, SpecError, quoted
from sat_core.input_spec import InputSpec
from sat_core.zoo_record import Record, as_recorded
from sat_core.zoos import Zoo, ZooName, ZooNetwork, library_makes


def timm_network(name: ZooName, inputs: InputSpec) -> ZooNetwork:
    """Make a network of timm; see `sat_core.zoos.Zoo`. ``pretrained=TAG`` chooses one of its sets of weights."""
    timm = _library("timm", name)
    architecture, tag = name.network, name.options.get("pretrained", "")
    name.check_among(timm.list_models(), f"python -c \"import timm; print(timm.list_models('{architecture[:4]}*'))\"")
    if tag and f"{architecture}.{tag}" not in (tagged := timm.list_pretrained(f"{architecture}.*")):
        tags = ", ".join(each.partition(".")[2] for each in tagged) or "none"
        raise SpecError(f"model.name: expected pretrained=TAG with one of {tags} for {name}, got {quoted(tag)}")
    called = f"{architecture}.{tag}" if tag else architecture
    # weights are for three channels, of which timm would make others by adding filters up
    channels = 3 if name.pretrained else inputs.image_shape[2]
    options = name.keywords()
    with library_makes(name, _hub(), f'python -c "import timm; timm.create_model({called!r}, pretrained=True)"'):
        native = timm.create_model(
            called, pretrained=name.pretrained, num_classes=inputs.classes, in_chans=channels, **options
        )
        said = timm.data.resolve_model_data_config(native)
    size = (options["img_size"],) * 2 if isinstance(options.get("img_size"), int) else tuple(said["input_size"][1:])
    share = said["crop_pct"]  # of images that are squares, whatever "crop_mode" does with others
    record = Record(
        size=size,
        scaled=(int(size[0] / share), int(size[1] / share)),
        interpolation=said["interpolation"],
        mean=said["mean"],
        std=said["std"],
        fixed=bool(native.pretrained_cfg.get("fixed_input_size")),
    )
    spec, taken = as_recorded(name, inputs, record, channels)
    outputs = native.pretrained_cfg.get("num_classes", inputs.classes) if name.pretrained else inputs.classes
    return ZooNetwork(native=native, inputs=spec, taken=taken, weights_for=outputs if outputs != inputs.classes else 0)


def _hub() -> str:
    """The folder in which timm looks for weights."""
    try:
        constants = importlib.import_module("huggingface_hub.constants")
    except ImportError:
        return torch.hub.get_dir()
    return str(constants.HF_HUB_CACHE)


def torchvision_network(name: ZooName, inputs: InputSpec) -> ZooNetwork:
    """Make a network of torchvision; see `sat_core.zoos.Zoo`. ``pretrained=IMAGENET1K_V2`` chooses the weights.

    Networks with logits of their own for lower layers are made without these.
    """
    models = _library("torchvision", name).models
    listing = 'python -c "import torchvision.models as m; print(m.list_models(module=m))"'
    name.check_among(models.list_models(module=models), listing)
    known, chosen = models.get_model_weights(name.network), None
    default = getattr(known, "DEFAULT", None)
    if name.pretrained:
        tag = name.options["pretrained"]
        chosen = default if not tag else known.__members__.get(tag)
        if chosen is None:
            tags = ", ".join(weights.name for weights in known)
            raise SpecError(f"model.name: expected pretrained=TAG with one of {tags} for {name}, got {quoted(tag)}")
    options: dict[str, Any] = name.keywords()
    if name.network in ("googlenet", "inception_v3"):
        # in `training` their outputs would have other logits, too; drawing their weights truncated takes 8 s
        options = {"aux_logits": False, **({} if chosen else {"init_weights": False}), **options}
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    call = f'python -c "import torchvision; torchvision.models.get_model({name.network!r}, weights={str(chosen)!r})"'
    with library_makes(name, folder, call):
        if chosen is None:
            native = models.get_model(name.network, num_classes=inputs.classes, **options)
        else:
            native = models.get_model(name.network, weights=chosen, **options)
            _replace_last(native, len(chosen.meta["categories"]), inputs.classes)
    record = _torchvision_record(
        chosen or default, fixed=name.network.startswith("vit_") and "image_size" not in options
    )
    spec, taken = as_recorded(name, inputs, record, 3)
    outputs = len(chosen.meta["categories"]) if chosen else inputs.classes
    return ZooNetwork(native=native, inputs=spec, taken=taken, weights_for=outputs if outputs != inputs.classes else 0)


def _torchvision_record(weights: Any, *, fixed: bool) -> Record:
    told = weights.transforms()
    crop, scaled = ((size * 2)[:2] for size in (told.crop_size, told.resize_size))
    return Record(
        size=tuple(crop),
        scaled=tuple(scaled),
        interpolation=told.interpolation.value,
        mean=tuple(told.mean),
        std=tuple(told.std),
        fixed=fixed,
    )


def _replace_last(module: nn.Module, outputs: int, classes: int) -> None:
    """Put a new layer in place of the last one, if it is for another number of classes."""
    if outputs == classes:
        return
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    place, old = next((name, layer) for name, layer in reversed(layers.items()) if len(layer.weight) == outputs)
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        new: nn.Module = nn.Linear(old.in_features, classes, bias=bias)
    else:
        new = nn.Conv2d(old.in_channels, classes, old.kernel_size, old.stride, old.padding, bias=bias)  # type: ignore[arg-type]
    parent, _, last = place.rpartition(".")
    setattr(module.get_submodule(parent), last, new)


def robustbench_network(name: ZooName, inputs: InputSpec) -> ZooNetwork:
    """Make a network of RobustBench, always with its weights; see `sat_core.zoos.Zoo`.

    Options: ``dataset`` (cifar10 unless it says otherwise), ``threat`` (Linf), and ``dir``, where the library keeps its
    weights (``models``). Its networks take pixels in [0, 1] and normalise them themselves.
    """
    with importable_robustbench():
        library = _library("robustbench", name)
    utils = importlib.import_module("robustbench.utils")
    dataset, threat, folder = (
        name.options.get(key) or default
        for key, default in (("dataset", "cifar10"), ("threat", "Linf"), ("dir", "models"))
    )
    if unknown := {*name.options} - {"dataset", "threat", "dir", "pretrained", "size"}:
        raise SpecError(f"model.name: expected dataset, threat and dir after {name}?, got {', '.join(sorted(unknown))}")
    tables = {
        (str(d.value), str(t.value)): table for d, models in utils.all_models.items() for t, table in models.items()
    }
    if (dataset, threat) not in tables:
        pairs = "; ".join(f"dataset={d}&threat={t}" for d, t in tables)
        raise SpecError(f"model.name: expected one of {pairs}, got dataset={dataset}&threat={threat}")
    table = tables[dataset, threat]
    name.check_among(table, f"those for dataset={dataset}&threat={threat}")
    pretrained = ZooName(zoo=name.zoo, network=name.network, options={**name.options, "pretrained": ""})
    arguments = f"{name.network!r}, {folder!r}, {dataset!r}, {threat!r}"
    call = f'python -c "import robustbench; robustbench.load_model({arguments})"'
    with library_makes(pretrained, f"{folder}/{dataset}/{threat}", call), _quiet():
        native = library.load_model(name.network, folder, dataset, threat)
    spec, taken = as_recorded(pretrained, inputs, _robustbench_record(dataset, table[name.network]), 3)
    return ZooNetwork(native=native, inputs=spec, taken=taken)


def _robustbench_record(dataset: str, entry: Any) -> Record:
    said = str(entry.get("preprocessing") or "")
    size = 224 if dataset == "imagenet" else 32
    scaled, crop = (re.search(rf"{word}(\d+)", said) for word in ("Res", "Crop"))
    crop_size = int(crop[1]) if crop else int(scaled[1]) if scaled else size
    scaled_size = int(scaled[1]) if scaled else crop_size
    filtered = "bicubic" if said.startswith("Bicubic") else "bilinear"
    return Record(size=(crop_size,) * 2, scaled=(scaled_size,) * 2, interpolation=filtered, mean=(), std=())


@contextmanager
def importable_robustbench() -> Iterator[None]:
    """Inside, ``import robustbench`` finds AutoAttack under the name of its package on the index, too.

    RobustBench imports ``autoattack``; ``pyautoattack`` is the same package. Afterwards the process knows neither name
    that it did not know before.

    Raises:
        NotInstalledError: It needs ``pkg_resources``, which newer releases of setuptools have not.
    """
    if "robustbench" in sys.modules:
        yield
        return
    lent = []
    if importlib.util.find_spec("autoattack") is None and importlib.util.find_spec("pyautoattack") is not None:
        for part in ("", ".state"):
            sys.modules[f"autoattack{part}"] = importlib.import_module(f"pyautoattack{part}")
            lent.append(f"autoattack{part}")
    try:
        with _quiet():
            yield
    except ModuleNotFoundError as error:
        package = {"pkg_resources": "'setuptools<81'", "autoattack": "pyautoattack"}.get(str(error.name), error.name)
        raise NotInstalledError(f"robustbench needs {error.name}: pip install {package}") from error
    finally:
        for each in lent:
            del sys.modules[each]


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, nothing is said about names that libraries still use of one another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _library(library: str, name: ZooName) -> Any:
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise NotInstalledError(f"model.name: {name} needs {library}: pip install {library}") from error


ZOOS: dict[str, Zoo] = {
    "timm": timm_network,
    "torchvision": torchvision_network,
    "robustbench": robustbench_network,
}
"""Functions by the word before the colon."""
