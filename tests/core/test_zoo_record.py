"""What is taken from the record of a library: preprocessing for its weights, and no more without them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from sat_core.errors import NotInstalledError, SpecError
from sat_core.input_spec import InputSpec
from sat_core.scaling import Scaling
from sat_core.zoo_record import Record, as_recorded
from sat_core.zoos import ZooName, library_makes

COLOUR = InputSpec(10, (32, 32, 3), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
GREY = InputSpec(10, (28, 28, 1), (0.1,), (0.3,))
RECORD = Record(size=(224, 224), scaled=(256, 256), interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2,) * 3)
NETWORK = "zoo:net"
"""Not in any library."""


def front(name: str, inputs: InputSpec, record: Record = RECORD, channels: int = 3) -> tuple[InputSpec, str]:
    return as_recorded(ZooName.parse(name), inputs, record, channels)


def test_with_the_librarys_weights_all_of_its_preprocessing_is_taken() -> None:
    spec, taken = front(f"{NETWORK}?pretrained", COLOUR)
    assert spec.scaling == Scaling(size=256, crop=224, interpolation="bicubic")
    assert (spec.mean, spec.std) == (RECORD.mean, RECORD.std)
    assert taken == (
        "zoo:net: from zoo's record, inside the network: images scaled to 256 x 256 (bicubic), of which the centre of "
        "224 x 224 is taken; mean (0.5, 0.4, 0.3), deviation (0.2, 0.2, 0.2)"
    )
    fits, taken = front(f"{NETWORK}?pretrained", attrs.evolve(COLOUR, image_shape=(224, 224, 3)))
    assert fits.scaling is None
    assert "scaled" not in taken
    asked = front(f"{NETWORK}?pretrained&size=64", COLOUR)[0]
    assert asked.scaling == Scaling(size=64, interpolation="bicubic")
    turned = front(f"{NETWORK}?pretrained", fits, attrs.evolve(RECORD, bgr=True))[0]
    assert turned.scaling == Scaling(size=224, bgr=True, interpolation="bicubic")


def test_without_them_only_what_the_network_cannot_do_without_is_taken() -> None:
    assert front(NETWORK, COLOUR) == (COLOUR, "")
    assert front(f"{NETWORK}?size=64", COLOUR)[0].scaling == Scaling(size=64)
    fixed, taken = front(NETWORK, COLOUR, attrs.evolve(RECORD, fixed=True))
    assert fixed == attrs.evolve(COLOUR, scaling=Scaling(size=224))
    assert taken.endswith("images scaled to 224 x 224 (bilinear)")
    inside = front(NETWORK, COLOUR, attrs.evolve(RECORD, inside=True))[0]
    assert inside.mean == RECORD.mean


def test_grey_images_become_what_the_network_takes() -> None:
    spec = front(NETWORK, GREY)[0]
    assert spec.scaling == Scaling(size=28, channels=3)
    assert (spec.mean, spec.std) == ((0.1,) * 3, (0.3,) * 3)
    assert front(NETWORK, GREY, channels=1)[0] == GREY
    assert front(f"{NETWORK}?pretrained", GREY)[0].network_shape == (224, 224, 3)
    with pytest.raises(SpecError, match="takes images with 1 channels, got 3"):
        front(NETWORK, COLOUR, channels=1)


def test_a_filter_that_we_do_not_have_is_refused() -> None:
    with pytest.raises(SpecError, match="'lanczos', which we do not have"):
        front(f"{NETWORK}?pretrained", COLOUR, attrs.evolve(RECORD, interpolation="lanczos"))


def test_options_are_read_and_names_are_looked_up() -> None:
    name = ZooName.parse("zoo:net?pretrained&drop_rate=0.1&depth=3&big&wide=false&kind=x&size=64")
    assert name.keywords() == {"drop_rate": 0.1, "depth": 3, "big": True, "wide": False, "kind": "x"}
    assert (name.pretrained, name.size) == (True, 64)
    with pytest.raises(SpecError, match="expected size=N with N pixels, got size='big'"):
        _ = ZooName.parse("zoo:net?size=big").size
    for wrong, says in {
        "weights=DEFAULT": r"unknown option 'weights' .*\nuse \?pretrained or \?pretrained=TAG",
        "num_classes=5": "the classes are those of the data",
        "siz=32": r"\(did you mean 'size'\?\)",
        "size=32?foo": "options are joined by '&'",
    }.items():
        with pytest.raises(SpecError, match=says):
            ZooName.parse(f"zoo:net?{wrong}")
    assert ZooName.parse("zoo:net?img_size=32&image_size=32&resize=1&pretrained_cfg=x").keywords()["img_size"] == 32
    name.check_among(["net"], "zoo.list()")
    refused = {
        "zoo:nett": r"unknown network 'zoo:nett' \(did you mean 'net'\?\)",
        "zoo:": r"expected a network after zoo:\none of net\nzoo has 1 networks",
    }
    for wrong, says in refused.items():
        with pytest.raises(SpecError, match=says):
            ZooName.parse(wrong).check_among(["net"], "zoo.list()")


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        (
            "zoo:net?pretrained",
            ConnectionError("no route"),
            "the weights of zoo:net are not in DIR and cannot be fetched",
        ),
        ("zoo:net?pretrained", TypeError("depth"), r"zoo does not make zoo:net \(TypeError: depth\)"),
        ("zoo:net", ConnectionError("no route"), "zoo does not make zoo:net"),
        ("zoo:net", ValueError("size too small"), r"size too small\)\n\?size=N after the name scales"),
        ("zoo:net", ModuleNotFoundError("No module named 'other'"), "zoo:net needs a package that is missing"),
        ("zoo:net", SpecError("as it is"), "as it is"),
    ],
)
def test_errors_of_libraries_become_one_clear_line(name: str, error: Exception, says: str) -> None:
    kind: Any = NotInstalledError if isinstance(error, ImportError) else SpecError
    with pytest.raises(kind, match=says), library_makes(ZooName.parse(name), "DIR", "fetch()"):
        raise error
