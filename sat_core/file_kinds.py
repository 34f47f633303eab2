"""Which program wrote a file of weights, told by its content: names of such files promise nothing."""

from __future__ import annotations

import zipfile
from pathlib import Path

TORCH, TORCHSCRIPT, KERAS, HDF5, NPZ = "torch", "torchscript", "keras", "hdf5", "npz"
WRITERS = {TORCH: "torch.save", TORCHSCRIPT: "torch.jit", KERAS: "Keras", HDF5: "Keras", NPZ: "numpy"}
"""Who writes files of a kind."""
_BACKENDS = {TORCH: "torch", TORCHSCRIPT: "torch", KERAS: "tensorflow", HDF5: "tensorflow"}
_TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar")


def kind_of(path: Path) -> str:
    """Return one of the kinds above, or an empty text for safetensors and for what is none that we know.

    A damaged file is of the kind that its name says.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if start[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            names = []
        if any(name.endswith(("/constants.pkl", "/model.json")) for name in names):
            return TORCHSCRIPT
        if any(name.endswith("/data.pkl") for name in names):
            return TORCH
        if any(name.endswith(".weights.h5") for name in names):
            return KERAS
        if names and all(name.endswith(".npy") for name in names):
            return NPZ
    # Before torch 1.6, torch.save wrote bare pickles of protocol 2.
    if start[:2] == b"\x80\x02":
        return TORCH
    if start == b"\x89HDF\r\n\x1a\n":
        return HDF5
    suffix = path.suffix.lower()
    return TORCH if suffix in _TORCH_SUFFIXES else {".keras": KERAS, ".h5": HDF5, ".hdf5": HDF5}.get(suffix, "")


def backend_for(kind: str) -> str:
    """Return the name of the backend that reads files of this kind, or an empty text if it is for any or for none."""
    return _BACKENDS.get(kind, "")
