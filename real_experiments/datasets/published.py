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


Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one split.

    ``downloads``: files as they are served and their MD5. ``contents``: files after decompression and their MD5, in the
    order in which they are read; every source is checked against them, because Debian compresses the files again.
    None: no checksum of the contents was published.

    MD5 is what the publishers give. It finds every accidental change; no way is known to make another file with the MD5
    of a given one.
    """

    downloads: Mapping[str, str]
    contents: Mapping[str, str | None]

    @property
    def archive(self) -> str | None:
        """The name of the archive that holds all contents, if they are served as one."""
        return next((name for name in self.downloads if name.endswith(".tar.gz")), None)

    @property
    def wanted(self) -> str:
        """In words, what a folder must hold."""
        files = ", ".join(self.contents)
        return f"{self.archive}, or {files}" if self.archive else f"{files} (each with or without .gz)"


@dataclasses.dataclass(frozen=True)
class Published:
    """A data set as it was published, split by split. ``package``: where Debian's package puts the files."""

    form: Literal["idx", "cifar10"]
    mirrors: tuple[str, ...]
    splits: Mapping[Split, Files]
    package: Path | None = None


def _idx(split: str, images: tuple[str, str | None], labels: tuple[str, str | None]) -> Files:
    """The pair of IDX files of a split, each by the MD5 of what is served and that of its contents."""
    names = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
    sums = dict(zip(names, (images, labels), strict=True))
    return Files(
        {f"{name}.gz": str(served) for name, (served, _) in sums.items()},
        {name: contents for name, (_, contents) in sums.items()},
    )


# The binary form: the one for Python is a pickle, which can run any code when it is opened.
_CIFAR10_ARCHIVE = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}

PUBLISHED: dict[str, Published] = {
    "mnist": Published(
        form="idx",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        splits={
            "train": _idx(
                "train",
                ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
                ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
            ),
            "test": _idx(
                "t10k",
                ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
                ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
            ),
        },
    ),
    "kmnist": Published(
        form="idx",
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        splits={
            # Two public records of the checksum of the training images' contents disagree, so that none is used. A
            # download is checked as it is served, and gzip's own CRC-32 covers the cache; images that a user gives are
            # held only against their header and the checksum of the labels.
            "train": _idx(
                "train",
                ("bdb82020997e1d708af4cf47b453dcf7", None),
                ("e144d726b3acfaa3e44228e80efcd344", "949e75301f8813e0dc5800dcc320fc52"),
            ),
            "test": _idx(
                "t10k",
                ("5c965bf0a639b31b8f53240b1b52f4d7", "bf305b8cd328700fbc17f5acbc2856d2"),
                ("7320c461ea6c1c855c0b718fb2a4b134", "9f55f451c0988b028eccdf7d5cc265ab"),
            ),
        },
    ),
    "fashion-mnist": Published(
        form="idx",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        splits={
            "train": _idx(
                "train",
                ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
                ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
            ),
            "test": _idx(
                "t10k",
                ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
                ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
            ),
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
        splits={
            "train": Files(
                _CIFAR10_ARCHIVE,
                {
                    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
                    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
                    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
                    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
                    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
                },
            ),
            # No checksum of this batch alone was found; in the archive it is covered by that of the archive.
            "test": Files(_CIFAR10_ARCHIVE, {"test_batch.bin": None}),
        },
    ),
}


def images_of(
    name: str, split: Split = "train", path: Path | None = None, download: bool = True
) -> tuple[Pixels, Labels, str]:
    """Pixels [N, C, H, W] and labels [N] of a split as bytes, and a sentence that says where they come from.

    Sources in order: ``path`` and nothing else if it is given; Debian's package; the cache; a download into the cache.

    Raises: OSError with one sentence that names what to do if the data cannot be had, or is not what was published. A
    file that is there is never overwritten.
    """
    published = PUBLISHED[name]
    files = published.splits[split]
    of_split = "" if split == "train" else ", the official test split"
    if path is not None:
        place = path.expanduser()
        found = _load(place, published, files, "give another copy as path, or no path to use the cache or a download")
        if found is None:
            raise OSError(_lacking(name, split, place))
        return *found, f"Read from {place}{of_split}."
    if published.package is not None:
        mend = f"install the Debian package {PACKAGE} again, or give a folder as path"
        found = _load(published.package, published, files, mend)
        if found is not None:
            return *found, f"Read from the Debian package {PACKAGE} ({published.package}){of_split}."
    folder = cache_folder() / name
    origin = "Read from the cache"
    if _locate(folder, files) is None:
        if not download:
            raise OSError(f"{name} is not on this machine: {_mend(published, files)}, or allow the download.")
        origin = f"Downloaded from {_download(name, published, files, folder)}"
    found = _load(folder, published, files, "delete it, and it will be downloaded again")
    if found is None:
        raise OSError(f"{folder} lost files while they were read: try again.")
    return *found, f"{origin} ({folder}){of_split}."


def _lacking(name: str, split: Split, place: Path) -> str:
    """One sentence for a folder without the files of a split; it may hold those of the other one."""
    (other,) = (each for each in SPLITS if each != split)
    wanted = PUBLISHED[name].splits[split].wanted
    if _locate(place, PUBLISHED[name].splits[other]) is None:
        return f"{place} does not hold {name}: path must be a folder with {wanted}."
    return (
        f"{place} holds only the {other} split of {name}, not its {split} split: choose the {other} split, or give a "
        f"folder with {wanted}."
    )


def cache_folder() -> Path:
    """The folder of downloads: the environment variable ULPM_CACHE, or the usual place of the operating system."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path(pooch.os_cache("ulpm"))


def _locate(place: Path, files: Files) -> list[Path] | None:
    """The files that hold the contents, or None if one is missing: the archive alone, or one a content."""
    if files.archive is not None:
        archive = place if place.is_file() else place / files.archive
        if archive.is_file():
            return [archive]
    paths = []
    for name in files.contents:
        path = next((p for p in (place / name, place / f"{name}.gz") if p.is_file()), None)
        if path is None:
            return None
        paths.append(path)
    return paths


def _load(place: Path, published: Published, files: Files, mend: str) -> tuple[Pixels, Labels] | None:
    """Read and check the files at ``place``; None if they are not there."""
    paths = _locate(place, files)
    if paths is None:
        return None
    try:
        contents = _contents(paths, files)
        parts = [contents[name] for name in files.contents]
        # The format first: what is wrong with it says more than a checksum that differs.
        loaded = formats.read_idx(parts[0], parts[1]) if published.form == "idx" else formats.read_cifar10(parts)
        for name, md5 in files.contents.items():
            _check(name, md5, contents[name])
    except OSError as error:
        raise OSError(f"{str(error).removesuffix('.')}: {mend}.") from error
    return loaded


def _contents(paths: list[Path], files: Files) -> dict[str, Contents]:
    if len(paths) == 1 and paths[0].name.removesuffix(".gz") not in files.contents:
        return formats.unpack(paths[0], files.contents)
    return {name: formats.decompress(path) for name, path in zip(files.contents, paths, strict=True)}


def _check(name: str, md5: str | None, contents: Contents) -> None:
    got = hashlib.md5(contents.data, usedforsecurity=False).hexdigest()
    if md5 is not None and got != md5:
        raise OSError(f"{contents.place} is not the published {name} (the MD5 of its contents is {got}, not {md5})")


def _download(name: str, published: Published, files: Files, folder: Path) -> str:
    """Fetch what is missing in ``folder`` from the first address that gives it, and return that address.

    pooch writes beside, compares the checksum and only then moves the file into place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be made ({error.strerror}): name a folder in {CACHE_VARIABLE}.") from error
    used = published.mirrors[0]
    for file, md5 in files.downloads.items():
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
            raise OSError(f"{name} could not be downloaded ({'; '.join(reasons)}): {_mend(published, files)}.")
    return used


def _reason(error: OSError | ValueError) -> str:
    """A few words for what may be a page of nested exceptions."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"status {status}"
    if isinstance(error, OSError):
        return error.strerror or "no connection"
    return "wrong checksum"


def _mend(published: Published, files: Files) -> str:
    package = f", or install the Debian package {PACKAGE}" if published.package is not None else ""
    return f"give a folder with {files.wanted} as path{package}"
