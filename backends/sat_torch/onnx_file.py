"""A classifier as an ONNX file, with all that stands in front of its network."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sat_core.classifier import Classifier
from sat_core.errors import EvaluationError, NotInstalledError, SpecError, brief
from sat_torch.modes import frozen

TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest logit if that is above 1."""
_IMAGES, _LOGITS = "images", "logits"


def save_onnx(classifier: Classifier, path: Path) -> None:
    """See `sat_core.plain_code.Publisher.save_onnx`."""
    try:
        import onnxscript  # noqa: F401 # torch.onnx writes with it
    except ImportError as error:
        raise NotInstalledError(
            f"--onnx: onnxscript is not installed ({error}): pip install onnx onnxscript"
        ) from error
    h, w, c = classifier.image_shape
    module: Any = classifier.as_torch_module()
    example = torch.zeros((2, c, h, w), device=classifier.torch_device)
    count = torch.export.Dim("n", min=1)
    try:
        with frozen(module), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of onnxscript's and PyTorch's own deprecations
            torch.onnx.export(
                module,
                (example,),
                path,
                input_names=[_IMAGES],
                output_names=[_LOGITS],
                dynamic_shapes=({0: count},),
                dynamo=True,
                # One file: weights beside it would be missing wherever it is moved.
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter has an error of its own for whatever a network does
        raise SpecError(f"--onnx: PyTorch cannot write this network as ONNX ({brief(error)})") from error
    _check(classifier, path)


def _check(classifier: Classifier, path: Path) -> None:
    """Compare the logits, for one image and for several."""
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((3, *classifier.image_shape), np.float32)
    expected = classifier.logits(images)
    for count in (1, 3):
        feed = {_IMAGES: images[:count].transpose(0, 3, 1, 2).copy()}
        got = session.run([_LOGITS], feed)[0]
        off = float(np.abs(got - expected[:count]).max() / max(1.0, np.abs(expected).max()))
        if not off <= TOLERANCE:
            raise EvaluationError(f"--onnx: the file's logits differ from the network's by {off:.1g}")
