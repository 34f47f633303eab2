"""The published files of the data sets that can be downloaded: addresses and MD5 sums, as torchvision has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import attrs

from sat_core.errors import DataError
from sat_datasets.named import absent, needs, remedy

CALTECH256 = (
    "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
    "67b4f42ca05d46448c6bb8ecd2220f6d",
)
"""Address and MD5 sum; torchvision has them inside a method, where they cannot be read."""


@final
@attrs.frozen
class Published:
    """One file to download. target: the path below the data set's folder that it is, or that it unpacks to."""

    url: str
    md5: str
    target: str
    unpack: bool = False

    @property
    def part(self) -> str:
        """What is in the data set's folder itself: the first name of the path."""
        return self.target.split("/")[0]


def published(name: str) -> list[Published]:
    """What there is to download for `name`, nothing where it comes by hand or with a package."""
    if name == "caltech256":
        return [Published(*CALTECH256, "256_ObjectCategories", unpack=True)]
    if name in ("cifar10", "cifar100"):
        cifar = _torchvision(name, name.upper())
        return [Published(cifar.url, cifar.tgz_md5, cifar.base_folder, unpack=True)]
    if name == "svhn":
        files = _torchvision(name, "SVHN").split_list
        return [Published(url, md5, file) for url, file, md5 in (files["train"], files["test"])]
    if name == "flowers102":
        flowers = _torchvision(name, "Flowers102")
        targets = {"image": "flowers-102/jpg", "label": "flowers-102/imagelabels.mat", "setid": "flowers-102/setid.mat"}
        files = {target: flowers._file_dict[kind] for kind, target in targets.items()}
        prefix = flowers._download_url_prefix
        return [Published(prefix + file, md5, target, file.endswith(".tgz")) for target, (file, md5) in files.items()]
    return []


def sums(name: str) -> dict[str, str]:
    """Paths below the data set's folder of files with an MD5 sum of their own, to that sum."""
    if name in ("cifar10", "cifar100"):
        cifar = _torchvision(name, name.upper())
        files = [*cifar.train_list, *cifar.test_list, (cifar.meta["filename"], cifar.meta["md5"])]
        return {f"{cifar.base_folder}/{file}": md5 for file, md5 in files}
    return {file.target: file.md5 for file in published(name) if not file.unpack}


def check_sums(name: str, folder: Path) -> None:
    """DataError, naming the first file that is missing or not as published; nothing is read but the bytes."""
    for path, expected in sums(name).items():
        if not (folder / path).is_file():
            raise absent(name, folder, path)
        if (found := md5_sum(name, folder / path)) != expected:
            raise DataError(
                f"{folder / path}: expected the published file, MD5 {expected}, got {found}\n"
                f"{remedy(name, folder, path)}"
            )


def md5_sum(name: str, path: Path) -> str:
    """MD5 sum of a file, in hexadecimal."""
    with needs(name, "torchvision"):
        from torchvision.datasets.utils import calculate_md5
    return str(calculate_md5(path))


def _torchvision(name: str, release: str) -> Any:
    with needs(name, "torchvision"):
        import torchvision.datasets
    return getattr(torchvision.datasets, release)
