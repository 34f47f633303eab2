"""What the core does once for all backends: chunks, members of a batch, inputs, and the geometry of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sat_core.ascent import padded
from sat_core.chunks import CHUNK, chunks
from sat_core.errors import SpecError
from sat_core.geometry import GEOMETRIES, get_geometry
from sat_core.input_spec import InputSpec
from sat_core.numpy_ops import NUMPY
from sat_core.reference import NumpyBackend
from sat_core.testing import samples
from sat_core.threat import THREAT_MODELS


@pytest.mark.parametrize("norm", [*GEOMETRIES])
def test_the_geometry_of_tensors_is_that_of_the_threat_models(norm: str) -> None:
    geometry, threat = get_geometry(norm, NUMPY), THREAT_MODELS.get(norm)
    rng = np.random.default_rng(0)
    delta = rng.normal(size=(9, 4, 4, 3)) * np.geomspace(1e-3, 10, 9)[:, None, None, None]
    delta[0] = 0
    np.testing.assert_allclose(geometry.size(delta)[:, 0, 0, 0], threat.size(delta))
    np.testing.assert_allclose(geometry.project(delta, 0.5), threat.project(delta, 0.5))
    np.testing.assert_allclose(geometry.ascent_direction(delta), threat.ascent_direction(delta))


def test_every_threat_model_of_ours_has_a_geometry_and_no_other_norm_does() -> None:
    assert {*GEOMETRIES} <= {*THREAT_MODELS}
    with pytest.raises(SpecError, match=r"^unknown norm 'L7'.*\nexpected one of: L2, Linf"):
        get_geometry("L7", NUMPY)


@pytest.mark.parametrize("n", [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_calls_take_any_number_of_images(n: int) -> None:
    classifier, data = samples.build(NumpyBackend(), "linear"), samples.examples(n)
    sizes: list[int] = []

    def counted(call: Any) -> Any:
        return lambda images, *rest: (sizes.append(len(images)), call(images, *rest))[1]

    classifier._logits, classifier._perturb = counted(classifier._logits), counted(classifier._perturb)  # type: ignore[method-assign]
    logits = classifier.logits(data.images)
    adversarial = classifier.perturb(data.images, data.labels, samples.attack(random_start=True), rng())
    assert logits.shape == (n, samples.CLASSES)
    assert adversarial.shape == data.images.shape
    assert max(sizes) <= CHUNK
    if n:
        last = slice(n - 1, n)
        np.testing.assert_allclose(classifier.logits(data.images[last]), logits[last], atol=1e-5)
        assert len(np.unique(adversarial.reshape(n, -1), axis=0)) == n


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_chunks_are_views_that_make_up_the_whole() -> None:
    items = np.arange(7)
    assert [part.tolist() for part in chunks(items, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert chunks(items[:0], 3) == []
    assert all(part.base is items for part in chunks(items, 3))


@pytest.mark.parametrize(
    ("batch", "members", "attacked"),
    [(128, 1, 8), (128, 35, 40), (128, 128, 128), (16, 5, 5), (100, 99, 100)],
)
def test_captured_code_attacks_sixteenths_of_the_batch(batch: int, members: int, attacked: int) -> None:
    assert padded(members, batch) == attacked


def test_input_specs_check_themselves_and_come_back_from_json() -> None:
    spec = InputSpec(10, (8, 8, 1), (0.3,), (0.4,))
    assert InputSpec.from_dict({"model": "linear", **spec.to_dict(), "image_shape": [8, 8, 1], "mean": [0.3]}) == spec
    for wrong in ((8, 8), (8, 0, 1), (3, 16, 16)):
        with pytest.raises(SpecError, match=r"image_shape: expected \(height, width, channels\), got"):
            InputSpec(10, wrong)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="mean, std: give both: std is missing"):
        InputSpec(10, (8, 8, 1), mean=(0.3,))
