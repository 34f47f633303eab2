"""The published files of the data sets that can be downloaded: addresses and MD5 sums, taken from torchvision."""

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
"""Address and MD5 sum, copied from torchvision, which keeps them inside a method; a test compares them."""


@final
@attrs.frozen
class Published:
    """One file to download.

    Args:
        url: Its address.
        md5: Its MD5 sum, in hexadecimal.
        target: Where it belongs, relative to the folder of the data set; for an archive, the folder that it unpacks to.
        unpack: Whether it is a tar archive.
    """

    url: str
    md5: str
    target: str
    unpack: bool = False

    @property
    def part(self) -> str:
        """The first component of `target`: what appears in the folder of the data set."""
        return self.target.split("/")[0]


def published_files(name: str) -> list[Published]:
    """Return the files to download for a data set; none if it ships with a package or has to be placed by hand.

    Raises:
        NotInstalledError: torchvision, which has the addresses, is not installed.
    """
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
        # Private, but it follows torchvision when a file moves; a copy of ours would not.
        prefix = flowers._download_url_prefix
        return [Published(prefix + file, md5, target, file.endswith(".tgz")) for target, (file, md5) in files.items()]
    return []


def md5_sums(name: str) -> dict[str, str]:
    """Return the published MD5 sums of single files, by their path relative to the folder of the data set.

    An unpacked archive has no sums, except CIFAR's, whose release lists one for each member.
    """
    if name in ("cifar10", "cifar100"):
        cifar = _torchvision(name, name.upper())
        files = [*cifar.train_list, *cifar.test_list, (cifar.meta["filename"], cifar.meta["md5"])]
        return {f"{cifar.base_folder}/{file}": md5 for file, md5 in files}
    return {file.target: file.md5 for file in published_files(name) if not file.unpack}


def check_sums(name: str, folder: Path) -> None:
    """Compare the files of a data set with their published MD5 sums, without parsing them.

    Raises:
        DataError: A file is missing or differs; the message names the first one.
    """
    for path, expected in md5_sums(name).items():
        if not (folder / path).is_file():
            raise absent(name, folder, path)
        if (actual := md5_sum(name, folder / path)) != expected:
            raise DataError(
                f"{folder / path}: expected the published file, MD5 {expected}, got {actual}\n"
                f"{remedy(name, folder, path)}"
            )


def md5_sum(name: str, path: Path) -> str:
    """Return the MD5 sum of a file, in hexadecimal."""
    with needs(name, "torchvision"):
        from torchvision.datasets.utils import calculate_md5
    return str(calculate_md5(path))


def _torchvision(name: str, release: str) -> Any:
    with needs(name, "torchvision"):
        import torchvision.datasets
    return getattr(torchvision.datasets, release)
