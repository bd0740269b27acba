"""Where the data sets come from (a path, a package, the cache, a download), and how a published file is recognised."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pooch

from real_experiments import formats
from real_experiments.formats import Contents, Labels, Pixels

CACHE_VARIABLE = "ULPM_CACHE"
TIMEOUT = 30.0  # seconds without an answer, then the next address is tried
PACKAGE = "dataset-fashion-mnist"


@dataclasses.dataclass(frozen=True)
class Published:
    """A training set as it was published.

    ``downloads``: files as they are served and their MD5. ``contents``: files after decompression and their MD5, in the
    order in which they are read; this is what every source is held against, because Debian compresses the files anew.
    None: no checksum of the contents was published. ``package``: where Debian's package puts the files.

    MD5 is what the publishers give. It finds every accidental change; no way is known to make another file with the MD5
    of a given one.
    """

    form: Literal["idx", "cifar10"]
    mirrors: tuple[str, ...]
    downloads: Mapping[str, str]
    contents: Mapping[str, str | None]
    package: Path | None = None

    @property
    def archive(self) -> str | None:
        """The name of the archive that holds all contents, if they are served as one."""
        return next((name for name in self.downloads if name.endswith(".tar.gz")), None)

    @property
    def wanted(self) -> str:
        """In words, what a folder must hold."""
        files = ", ".join(self.contents)
        return f"{self.archive}, or {files}" if self.archive else f"{files} (each with or without .gz)"


PUBLISHED: dict[str, Published] = {
    "mnist": Published(
        form="idx",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        downloads={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        },
        contents={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        },
    ),
    "kmnist": Published(
        form="idx",
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        downloads={
            "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
            "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        },
        contents={
            # Two public records of this file's checksum disagree, so that none is used. A download is checked as it is
            # served, and gzip's own CRC-32 covers the cache; images that a user gives are held only against their
            # header and the checksum of the labels.
            "train-images-idx3-ubyte": None,
            "train-labels-idx1-ubyte": "949e75301f8813e0dc5800dcc320fc52",
        },
    ),
    "fashion-mnist": Published(
        form="idx",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        downloads={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        },
        contents={
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        },
        package=Path("/usr/share/datasets/fashion-mnist"),
    ),
    "cifar10": Published(
        form="cifar10",
        mirrors=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://cave.cs.toronto.edu/kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        ),
        # The binary form: the one for Python is a pickle, which can run any code when it is opened.
        downloads={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        contents={
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        },
    ),
}


def training_set(name: str, path: Path | None = None, download: bool = True) -> tuple[Pixels, Labels, str]:
    """Pixels [N, C, H, W] and labels [N] as bytes, and a sentence that says where they come from.

    Sources in order: ``path`` and nothing else if it is given; Debian's package; the cache; a download into the cache.

    Raises: OSError with one sentence that names what to do if the data cannot be had, or is not what was published. A
    file that is there is never overwritten.
    """
    published = PUBLISHED[name]
    if path is not None:
        place = path.expanduser()
        found = _load(place, published, "give another copy as path, or no path to use the cache or a download")
        if found is None:
            raise OSError(f"{place} does not hold {name}: path must be a folder with {published.wanted}.")
        return *found, f"Read from {place}."
    if published.package is not None:
        found = _load(
            published.package, published, f"install the Debian package {PACKAGE} again, or give a folder as path"
        )
        if found is not None:
            return *found, f"Read from the Debian package {PACKAGE} ({published.package})."
    folder = cache_folder() / name
    origin = "Read from the cache"
    if _locate(folder, published) is None:
        if not download:
            raise OSError(f"{name} is not on this machine: {_mend(published)}, or allow the download.")
        origin = f"Downloaded from {_download(name, published, folder)}"
    found = _load(folder, published, "delete it, and it will be downloaded again")
    if found is None:
        raise OSError(f"{folder} lost files while they were read: try again.")
    return *found, f"{origin} ({folder})."


def cache_folder() -> Path:
    """The folder of downloads: the environment variable ULPM_CACHE, or the usual place of the operating system."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path(pooch.os_cache("ulpm"))


def _locate(place: Path, published: Published) -> list[Path] | None:
    """The files that hold the contents, or None if one is missing: the archive alone, or one a content."""
    if published.archive is not None:
        archive = place if place.is_file() else place / published.archive
        if archive.is_file():
            return [archive]
    paths = []
    for name in published.contents:
        path = next((p for p in (place / name, place / f"{name}.gz") if p.is_file()), None)
        if path is None:
            return None
        paths.append(path)
    return paths


def _load(place: Path, published: Published, mend: str) -> tuple[Pixels, Labels] | None:
    """Read and check the files at ``place``; None if they are not there."""
    paths = _locate(place, published)
    if paths is None:
        return None
    try:
        contents = _contents(paths, published)
        parts = [contents[name] for name in published.contents]
        # The format first: what is wrong with it says more than a checksum that differs.
        loaded = formats.read_idx(parts[0], parts[1]) if published.form == "idx" else formats.read_cifar10(parts)
        for name, md5 in published.contents.items():
            _check(name, md5, contents[name])
    except OSError as error:
        raise OSError(f"{str(error).removesuffix('.')}: {mend}.") from error
    return loaded


def _contents(paths: list[Path], published: Published) -> dict[str, Contents]:
    if len(paths) == 1 and paths[0].name not in published.contents:
        return formats.unpack(paths[0], published.contents)
    return {name: formats.decompress(path) for name, path in zip(published.contents, paths, strict=True)}


def _check(name: str, md5: str | None, contents: Contents) -> None:
    got = hashlib.md5(contents.data, usedforsecurity=False).hexdigest()
    if md5 is not None and got != md5:
        raise OSError(f"{contents.place} is not the published {name} (the MD5 of its contents is {got}, not {md5})")


def _download(name: str, published: Published, folder: Path) -> str:
    """Fetch what is missing in ``folder`` from the first address that gives it, and return that address.

    pooch writes beside, compares the checksum and only then moves the file into place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be made ({error.strerror}): name a folder in {CACHE_VARIABLE}.") from error
    used = published.mirrors[0]
    for file, md5 in published.downloads.items():
        if (folder / file).is_file():
            continue  # its contents are checked like any other
        reasons = []
        for mirror in published.mirrors:
            try:
                downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
                pooch.retrieve(f"{mirror}{file}", f"md5:{md5}", fname=file, path=folder, downloader=downloader)
            except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
                reasons.append(f"{mirror}: {_reason(error)}")
            else:
                used = mirror
                break
        else:
            raise OSError(f"{name} could not be downloaded ({'; '.join(reasons)}): {_mend(published)}.")
    return used


def _reason(error: OSError | ValueError) -> str:
    """A few words for what may be a page of nested exceptions."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"status {status}"
    if isinstance(error, OSError):
        return error.strerror or "no connection"
    return "wrong checksum"


def _mend(published: Published) -> str:
    package = f", or install the Debian package {PACKAGE}" if published.package is not None else ""
    return f"give a folder with {published.wanted} as path{package}"
