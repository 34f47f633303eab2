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
    """Inside, hold back what is written to stderr; it is printed after all if an exception is raised.

    TensorFlow writes there on import, whatever its settings.
    """
    sys.stderr.flush()
    # the descriptor and not sys.stderr, as TensorFlow's C++ code writes to it
    with tempfile.TemporaryFile() as held_back, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            stderr.write(held_back.read())
            raise
        finally:
            os.dup2(stderr.fileno(), 2)


def _import_in_order() -> None:
    """Import Keras on TensorFlow, and before that PyTorch and its compiler, Triton, where they are installed.

    TensorFlow and Triton each bring an LLVM; if TensorFlow's is loaded first, the other ends the process.
    """
    # Keras reads it once, when it is imported
    chosen = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    backend = chosen
    if chosen == "tensorflow":
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
            # looking for GPUs makes it write, too, so it is made to look here
            importlib.import_module("tensorflow").config.list_physical_devices()
            backend = importlib.import_module("keras").backend.backend()
    if backend != "tensorflow":
        raise SpecError(
            f"KERAS_BACKEND: expected tensorflow, got {backend!r}; set it so, or import sat_tensorflow before keras"
        )


_import_in_order()

from sat_tensorflow.backend import TensorFlowBackend  # noqa: E402
from sat_tensorflow.fit import SubsetAdversarialModel  # noqa: E402
from sat_tensorflow.step import SubsetAdversarialStep, with_index  # noqa: E402

__all__ = ["SubsetAdversarialModel", "SubsetAdversarialStep", "TensorFlowBackend", "with_index"]
