"""Weights in files of PyTorch, of any program. Nothing in them is executed."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sat_core.errors import CheckpointError, brief, quoted
from sat_core.file_kinds import TORCH, TORCHSCRIPT, kind_of
from sat_core.weights import Weights, table_in

_REFUSED = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module \S+ is blocked)")
_ALONE = "torch.save(model.state_dict(), path)"


def read(path: Path) -> Weights | None:
    """Return the weights in a file of `torch.save`; None if it is of another kind.

    Raises:
        CheckpointError: It is damaged, or has something else than tensors that would have to be executed.
    """
    kind = kind_of(path)
    if kind == TORCHSCRIPT:
        raise CheckpointError(
            f"{path}: a TorchScript archive, which is a program; expected weights alone\n"
            f"where you trust it, save them: torch.save(torch.jit.load({quoted(path.name)}).state_dict(), path)"
        )
    if kind != TORCH:
        return None
    table, lines = table_in(_loaded(path), lambda value: isinstance(value, Tensor), path)
    return Weights(path=path, arrays={name: _array(value, name, path) for name, value in table.items()}, taken=lines)


def _loaded(path: Path) -> Any:
    try:
        # It warns of sparse tensors, which are refused below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Said, not left to the default: then no environment variable changes it.
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = _REFUSED.search(str(error))
        if refused is None:
            raise CheckpointError(f"{path}: has a pickle that is damaged, or more than weights") from error
        raise CheckpointError(_refusal(path, refused[1])) from error
    # A damaged file can make the reader of archives, of pickles or of storages fail, each with errors of its own.
    except Exception as error:
        raise CheckpointError(f"{path}: truncated or not a file of torch.save ({brief(error)})") from error


def _refusal(path: Path, name: str) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # files from before torch 1.6, and damaged ones
        names = []
    if any(other.startswith("torch.nn.modules.") for other in (*names, name)):
        return (
            f"{path}: a whole pickled module ({quoted(name)}), which is a program; expected weights alone\n"
            f"where you trust it, load it yourself and save them: {_ALONE}"
        )
    return (
        f"{path}: refused an object of {quoted(name)}; expected tensors, texts and numbers of Python alone\n"
        f"where you trust it, load it with weights_only=False and save its weights alone: {_ALONE}"
    )


def _array(value: Tensor, name: str, path: Path) -> np.ndarray:
    plain = value.layout == torch.strided and not value.is_quantized and not value.is_meta
    # A few bytes can be stretched to a tensor of any size, by strides of 0; a copy of it would fill the memory.
    if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(
            f"{path}: {quoted(name)}: expected a plain tensor with all its numbers, got {_kind(value)}"
        )
    value = value.detach().resolve_conj().resolve_neg()
    # numpy has no bfloat16 and no float8
    if value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64):
        value = value.float()
    array: np.ndarray = value.numpy()
    return array


def _kind(value: Tensor) -> str:
    return f"{value.dtype}, {value.layout} on {value.device}, of shape {tuple(value.shape)}".replace("torch.", "")
