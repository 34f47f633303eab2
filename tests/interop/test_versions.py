"""The environment is what its tests say that it is."""

from __future__ import annotations

import importlib

import pytest

pytestmark = pytest.mark.interop

LIBRARIES = ("timm", "datasets", "huggingface_hub", "onnx", "onnxruntime", "mlflow", "wandb", "trackio", "lightning")


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.filterwarnings("ignore")
def test_the_library_can_be_imported(name):
    importlib.import_module(name)
