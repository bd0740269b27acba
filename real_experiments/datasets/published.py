"""Data sets in published files: where they come from (a path, a package, the cache, a download) and how a file is
recognised.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import pooch

from real_experiments.datasets.formats import Contents, Labels, Pixels, Shape, decompress, unpack
from real_experiments.datasets.image_set import ImageSet, Split

__all__ = ["CACHE_VARIABLE", "DebianPackage", "Files", "PublishedImages", "cache_folder", "idx_files"]

CACHE_VARIABLE = "ULPM_CACHE"
TIMEOUT = 30.0  # seconds without an answer, then the next address is tried


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one split.

    ``contents``: files after decompression and their MD5, in the order in which they are read; every source is checked
    against them, because Debian compresses the files again. None: no checksum of the contents was published.
    ``downloads``: files as they are served and their MD5; none if no address serves them.

    MD5 is what the publishers give. It finds every accidental change. No method is known to make another file
    with the MD5 of a given one.
    """

    contents: Mapping[str, str | None]
    downloads: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def archive(self) -> str | None:
        """The name of the archive that holds all contents, if they are served as one."""
        return next((name for name in self.downloads if name.endswith(".tar.gz")), None)

    @property
    def wanted(self) -> str:
        """The required files of a folder, in words."""
        files = ", ".join(self.contents)
        return f"{self.archive}, or {files}" if self.archive else f"{files} (each with or without .gz)"


def idx_files(prefix: str, images: tuple[str, str | None], labels: tuple[str, str | None]) -> Files:
    """The pair of IDX files of a split, each by the MD5 of what is served and that of its contents."""
    names = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    return Files(
        contents=dict(zip(names, (images[1], labels[1]), strict=True)),
        downloads={f"{name}.gz": served for name, served in zip(names, (images[0], labels[0]), strict=True)},
    )


class DebianPackage(NamedTuple):
    """A package that has the files, and the folder where it puts them."""

    name: str
    folder: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedImages(ImageSet):
    """A data set whose ``files`` were published, split by split, and are served by each of the ``mirrors``.

    ``read(contents, shape, num_classes)`` makes pixels and labels of a split from the contents of its files.
    """

    has_files: ClassVar[bool] = True
    read: Callable[[Sequence[Contents], Shape, int], tuple[Pixels, Labels]]
    files: Mapping[Split, Files]
    mirrors: tuple[str, ...] = ()
    package: DebianPackage | None = None

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have files."""
        return tuple(self.files)

    def images(self, split: Split, path: Path | None = None, download: bool = True) -> tuple[Pixels, Labels, str]:
        """As ``ImageSet.images``. Sources in order: ``path`` and nothing else if it is given; Debian's package; the
        cache; a download into the cache. A file that is there is never overwritten.
        """
        self.require_split(split)
        files, package = self.files[split], self.package
        of_split = "" if split == "train" else f", the official {split} split"
        if path is not None:
            place = path.expanduser()
            found = self._load(place, files, "give another copy as path, or no path to use the cache or a download")
            if found is None:
                raise OSError(self._lacking(split, place))
            return *found, f"Read from {place}{of_split}."
        if package is not None:
            mend = f"install the Debian package {package.name} again, or give a folder as path"
            found = self._load(package.folder, files, mend)
            if found is not None:
                return *found, f"Read from the Debian package {package.name} ({package.folder}){of_split}."
        folder = cache_folder() / self.name
        origin = "Read from the cache"
        if _locate(folder, files) is None:
            served = self.mirrors and files.downloads
            if not (download and served):
                allow = ", or allow the download" if served else ""
                raise OSError(f"{self.name} is not on this machine: {self._mend(files)}{allow}.")
            origin = f"Downloaded from {self._download(files, folder)}"
        mend = "delete it, and it will be downloaded again" if self.mirrors else "put another copy there"
        found = self._load(folder, files, mend)
        if found is None:
            raise OSError(f"{folder} lost files while they were read: try again.")
        return *found, f"{origin} ({folder}){of_split}."

    def _load(self, place: Path, files: Files, mend: str) -> tuple[Pixels, Labels] | None:
        """Read and check the files at ``place``; None if they are not there."""
        paths = _locate(place, files)
        if paths is None:
            return None
        try:
            contents = _contents(paths, files)
            # The format first: what is wrong with it says more than a checksum that differs.
            loaded = self.read([contents[name] for name in files.contents], self.shape, self.num_classes)
            for name, md5 in files.contents.items():
                _check(name, md5, contents[name])
        except OSError as error:
            raise OSError(f"{str(error).removesuffix('.')}: {mend}.") from error
        return loaded

    def _lacking(self, split: Split, place: Path) -> str:
        """One sentence for a folder without the files of a split; it may hold those of another one."""
        wanted = self.files[split].wanted
        other = next((each for each, files in self.files.items() if _locate(place, files) is not None), None)
        if other is None:
            return f"{place} does not hold {self.name}: path must be a folder with {wanted}."
        return (
            f"{place} holds only the {other} split of {self.name}, not its {split} split: choose the {other} split, or "
            f"give a folder with {wanted}."
        )

    def _download(self, files: Files, folder: Path) -> str:
        """Fetch what is missing in ``folder`` from the first address that gives it, and return that address.

        pooch writes a temporary file, compares the checksum and only then moves the file into place.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"{folder} cannot be made ({error.strerror}): name a folder in {CACHE_VARIABLE}.") from error
        used = self.mirrors[0]
        for file, md5 in files.downloads.items():
            if (folder / file).is_file():
                continue  # its contents are checked like any other
            reasons = []
            for mirror in self.mirrors:
                try:
                    downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
                    pooch.retrieve(f"{mirror}{file}", f"md5:{md5}", fname=file, path=folder, downloader=downloader)
                except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
                    reasons.append(f"{mirror}: {_reason(error)}")
                else:
                    used = mirror
                    break
            else:
                raise OSError(f"{self.name} could not be downloaded ({'; '.join(reasons)}): {self._mend(files)}.")
        return used

    def _mend(self, files: Files) -> str:
        package = f", or install the Debian package {self.package.name}" if self.package is not None else ""
        return f"give a folder with {files.wanted} as path{package}"


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


def _contents(paths: list[Path], files: Files) -> dict[str, Contents]:
    if len(paths) == 1 and paths[0].name.removesuffix(".gz") not in files.contents:
        return unpack(paths[0], files.contents)
    return {name: decompress(path) for name, path in zip(files.contents, paths, strict=True)}


def _check(name: str, md5: str | None, contents: Contents) -> None:
    got = hashlib.md5(contents.data, usedforsecurity=False).hexdigest()
    if md5 is not None and got != md5:
        raise OSError(f"{contents.place} is not the published {name} (the MD5 of its contents is {got}, not {md5})")


def _reason(error: OSError | ValueError) -> str:
    """A few words for what may be a page of nested exceptions."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"status {status}"
    if isinstance(error, OSError):
        return error.strerror or "no connection"
    return "wrong checksum"
