"""The TensorFlow backend of sat-core, with Keras 3."""

import importlib
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from sat_core.errors import SpecError


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what is written to stderr inside, as TensorFlow does on import whatever one asks of it; an exception
    lets it out.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            stderr.write(kept.read())
            raise
        finally:
            os.dup2(stderr.fileno(), 2)


def _import_in_order() -> None:
    """Keras on TensorFlow, and PyTorch with its compiler first: both bring an LLVM, and TensorFlow's has to be last."""
    asked = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    found = asked
    if asked == "tensorflow":
        names = [name for name in ("torch", "triton") if importlib.util.find_spec(name) is not None]
        if "tensorflow" in sys.modules and "triton" in names and "triton" not in sys.modules:
            warnings.warn(
                "TensorFlow was imported before PyTorch's compiler, which ends the process if it is loaded now "
                "(torchvision does); import sat_tensorflow first",
                stacklevel=2,
            )
        elif "tensorflow" not in sys.modules:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
            for name in names:
                importlib.import_module(name)
        with _quiet():
            importlib.import_module("tensorflow").config.list_physical_devices()
            found = importlib.import_module("keras").backend.backend()
    if found != "tensorflow":
        raise SpecError(
            f"KERAS_BACKEND: expected tensorflow, got {found!r}; set it so, or import sat_tensorflow before keras"
        )


_import_in_order()

from sat_tensorflow.backend import TensorFlowBackend  # noqa: E402
from sat_tensorflow.step import SubsetAdversarialStep, with_index  # noqa: E402

__all__ = ["SubsetAdversarialStep", "TensorFlowBackend", "with_index"]
