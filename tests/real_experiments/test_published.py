"""Sources are tried in their order, what they give is held against what was published, and nothing is overwritten."""

import dataclasses
import functools
import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_files import archive, cifar_files, idx_files, images_and_labels, md5, publish, publish_test_split, write

from real_experiments.datasets import DATASETS, published
from real_experiments.datasets.formats import read_idx

PIXELS, LABELS = images_and_labels()
FILES = idx_files(PIXELS, LABELS)
IMAGE_FILE, LABEL_FILE = FILES
OTHER = idx_files(PIXELS[::-1], LABELS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way out of this machine."""
    monkeypatch.setenv(published.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the folder tmp_path/served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    (tmp_path / "served").mkdir()
    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def package(folder: Path) -> published.DebianPackage:
    return published.DebianPackage("dataset-fashion-mnist", folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("compress", [False, True])
def test_a_folder_of_the_user_is_read_with_or_without_compression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool
) -> None:
    publish(monkeypatch, "mnist", FILES)
    folder = write(tmp_path / "mine", FILES, compress)
    pixels, labels, source = DATASETS["mnist"].images("train", folder)
    assert np.array_equal(pixels, PIXELS)
    assert np.array_equal(labels, LABELS)
    assert source == f"Read from {folder}."


@pytest.mark.parametrize("form", ["archive", "folder of the archive", "batches"])
def test_cifar10_is_read_from_its_archive_or_its_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    pixels, labels = images_and_labels(20, 3, 32)
    files = cifar_files(pixels, labels)
    publish(monkeypatch, "cifar10", files)
    path = write(tmp_path / "c", files if form == "batches" else {"cifar-10-binary.tar.gz": archive(files)})
    got = DATASETS["cifar10"].images("train", path / "cifar-10-binary.tar.gz" if form == "archive" else path)
    assert np.array_equal(got[0], pixels)
    assert np.array_equal(got[1], labels)


def test_the_path_comes_before_the_package_the_package_before_the_cache_and_the_cache_before_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    served = {f"{name}.gz": b"" for name in FILES}
    publish(
        monkeypatch,
        "fashion-mnist",
        FILES,
        served,
        package=package(tmp_path / "package"),
        mirrors=("http://127.0.0.1:9/",),
    )

    def source(path: Path | None = None) -> str:
        return DATASETS["fashion-mnist"].images("train", path)[2]

    with pytest.raises(OSError, match="could not be downloaded"):
        source()
    write(cache / "fashion-mnist", FILES)
    assert source() == f"Read from the cache ({cache / 'fashion-mnist'})."
    write(tmp_path / "package", FILES, compress=True)
    assert source() == f"Read from the Debian package dataset-fashion-mnist ({tmp_path / 'package'})."
    write(tmp_path / "mine", FILES)
    assert source(tmp_path / "mine") == f"Read from {tmp_path / 'mine'}."


@pytest.mark.parametrize("compress", [False, True])
def test_each_split_is_read_from_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool) -> None:
    pixels, labels = images_and_labels(20, seed=1)
    publish(monkeypatch, "mnist", FILES)
    publish_test_split(monkeypatch, "mnist", idx_files(pixels, labels, "t10k"))
    folder = write(tmp_path / "mine", FILES | idx_files(pixels, labels, "t10k"), compress)
    assert np.array_equal(DATASETS["mnist"].images("train", folder)[0], PIXELS)
    got = DATASETS["mnist"].images("test", folder)
    assert np.array_equal(got[0], pixels)
    assert np.array_equal(got[1], labels)
    assert got[2] == f"Read from {folder}, the official test split."


@pytest.mark.parametrize("form", ["archive", "batch", "compressed batch"])
def test_the_test_split_of_cifar10_is_one_batch_or_in_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    pixels, labels = images_and_labels(20, 3, 32)
    batch = {"test_batch.bin": b"".join(cifar_files(pixels, labels).values())}
    publish_test_split(monkeypatch, "cifar10", batch)
    files = {"cifar-10-binary.tar.gz": archive(batch)} if form == "archive" else batch
    got = DATASETS["cifar10"].images("test", write(tmp_path / "c", files, compress=form == "compressed batch"))
    assert np.array_equal(got[0], pixels)
    assert np.array_equal(got[1], labels)


def test_a_folder_with_one_split_says_so_when_the_other_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = idx_files(*images_and_labels(20), "t10k")
    publish(monkeypatch, "kmnist", FILES)
    publish_test_split(monkeypatch, "kmnist", other)
    folders = {"train": write(tmp_path / "only-test", other), "test": write(tmp_path / "only-train", FILES)}
    for asked, there in (("train", "test"), ("test", "train")):
        with pytest.raises(OSError, match=f"holds only the {there} split of kmnist, not its {asked} split: choose the"):
            DATASETS["kmnist"].images(asked, folders[asked])  # type: ignore[arg-type]
    half = write(tmp_path / "half", dict(list(other.items())[:1]))
    with pytest.raises(OSError, match=f"{half} does not hold kmnist: path must be a folder with t10k-images"):
        DATASETS["kmnist"].images("test", half)


def test_a_path_without_the_files_is_an_error_even_if_another_source_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    publish(monkeypatch, "mnist", FILES)
    write(cache / "mnist", FILES)
    (tmp_path / "file").write_text("")
    write(tmp_path / "half", {IMAGE_FILE: FILES[IMAGE_FILE]})
    for path in (tmp_path / "missing", tmp_path / "file", tmp_path / "half"):
        with pytest.raises(OSError, match=f"{path} does not hold mnist: path must be a folder with {IMAGE_FILE}"):
            DATASETS["mnist"].images("train", path)


@pytest.mark.parametrize("name", [IMAGE_FILE, LABEL_FILE])
@pytest.mark.parametrize("compress", [False, True])
def test_another_file_in_the_right_format_is_refused_by_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, compress: bool
) -> None:
    publish(monkeypatch, "mnist", FILES)
    other = {IMAGE_FILE: OTHER[IMAGE_FILE], LABEL_FILE: idx_files(PIXELS, LABELS[::-1])[LABEL_FILE]}
    folder = write(tmp_path / "mine", {**FILES, name: other[name]}, compress)
    before = contents(tmp_path)
    with pytest.raises(
        OSError, match=rf"is not the published {name} \(the MD5 .*\): give another copy as path, or no path .*\.$"
    ):
        DATASETS["mnist"].images("train", folder)
    assert contents(tmp_path) == before


def test_images_without_a_published_checksum_are_held_against_their_header_and_their_labels(tmp_path: Path) -> None:
    # KMNIST's labels have one: the wrong ones here are found, though nothing can be said about the images.
    folder = write(tmp_path / "mine", FILES)
    with pytest.raises(OSError, match=f"is not the published {LABEL_FILE}"):
        DATASETS["kmnist"].images("train", folder)


def test_a_damaged_file_in_the_cache_is_named_and_neither_replaced_nor_read(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    publish(monkeypatch, "mnist", FILES, mirrors=("http://127.0.0.1:9/",))
    folder = write(cache / "mnist", FILES, compress=True)
    (folder / f"{IMAGE_FILE}.gz").write_bytes((folder / f"{IMAGE_FILE}.gz").read_bytes()[:-20])
    before = contents(folder)

    def retrieve(*args: object, **options: object) -> None:
        pytest.fail("nothing may be downloaded")

    monkeypatch.setattr(published.pooch, "retrieve", retrieve)
    with pytest.raises(OSError, match=rf"{IMAGE_FILE}\.gz is damaged or truncated \(.*\): delete it, and it will be"):
        DATASETS["mnist"].images("train")
    assert contents(folder) == before


def test_a_damaged_file_of_the_package_says_how_to_mend_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "fashion-mnist", FILES, package=package(write(tmp_path / "package", OTHER, compress=True)))
    with pytest.raises(
        OSError, match=r"\): install the Debian package dataset-fashion-mnist again, or give a folder as path\.$"
    ):
        DATASETS["fashion-mnist"].images("train")


def test_a_download_goes_through_the_addresses_in_turn_and_is_found_in_the_cache_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, server: str
) -> None:
    served = contents(write(tmp_path / "served" / "b", FILES, compress=True))
    write(tmp_path / "served" / "wrong", dict.fromkeys(served, b"<html>"))
    mirrors = (f"{server}missing/", f"{server}wrong/", f"{server}b/")
    publish(monkeypatch, "mnist", FILES, served, mirrors=mirrors)
    pixels, labels, source = DATASETS["mnist"].images("train")
    assert np.array_equal(pixels, PIXELS)
    assert np.array_equal(labels, LABELS)
    assert source == f"Downloaded from {server}b/ ({cache / 'mnist'})."
    assert contents(cache) == served  # and no rubbish of the failed attempts
    publish(monkeypatch, "mnist", FILES, served)
    assert DATASETS["mnist"].images("train", download=False)[2] == f"Read from the cache ({cache / 'mnist'})."


def test_only_what_is_missing_in_the_cache_is_downloaded_and_a_file_compressed_anew_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, server: str
) -> None:
    served = contents(write(tmp_path / "served", FILES, compress=True))
    anew = gzip.compress(FILES[LABEL_FILE], compresslevel=1, mtime=1)
    write(cache / "mnist", {f"{LABEL_FILE}.gz": anew})
    publish(monkeypatch, "mnist", FILES, served, mirrors=(server,))
    assert DATASETS["mnist"].images("train")[2].startswith("Downloaded from")
    assert contents(cache) == {**served, f"{LABEL_FILE}.gz": anew} != served


def test_cifar10_is_downloaded_as_one_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, server: str
) -> None:
    pixels, labels = images_and_labels(20, 3, 32)
    files = cifar_files(pixels, labels)
    served = {"cifar-10-binary.tar.gz": archive(files)}
    write(tmp_path / "served", served)
    publish(monkeypatch, "cifar10", files, served, mirrors=(server,))
    got = DATASETS["cifar10"].images("train")
    assert np.array_equal(got[0], pixels)
    assert np.array_equal(got[1], labels)
    assert contents(cache) == served


def test_when_every_address_fails_one_sentence_gives_the_reasons_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, server: str
) -> None:
    served = {f"{name}.gz": data for name, data in FILES.items()}
    write(tmp_path / "served" / "wrong", dict.fromkeys(served, b"<html>"))
    mirrors = ("http://127.0.0.1:9/", f"{server}missing/", f"{server}wrong/")
    publish(monkeypatch, "fashion-mnist", FILES, served, mirrors=mirrors, package=package(tmp_path / "package"))
    with pytest.raises(OSError) as caught:  # noqa: PT011 (the message is compared below)
        DATASETS["fashion-mnist"].images("train")
    assert str(caught.value) == (
        f"fashion-mnist could not be downloaded ({mirrors[0]}: no connection; {mirrors[1]}: status 404; "
        f"{mirrors[2]}: wrong checksum): give a folder with {IMAGE_FILE}, {LABEL_FILE} (each with or "
        "without .gz) as path, or install the Debian package dataset-fashion-mnist."
    )
    assert contents(cache) == {}


def test_without_leave_to_download_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    publish(monkeypatch, "cifar10", cifar_files(*images_and_labels(10, 3, 32)), mirrors=("http://127.0.0.1:9/",))
    with pytest.raises(
        OSError,
        match=r"^cifar10 is not on this machine: give a folder with cifar-10-binary\.tar\.gz, or "
        r"data_batch_1\.bin, .* as path, or allow the download\.$",
    ):
        DATASETS["cifar10"].images("train", download=False)
    assert not cache.exists()


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "mnist", FILES, mirrors=("http://127.0.0.1:9/",))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(published.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"file/mnist cannot be made \(.*\): name a folder in ULPM_CACHE\.$"):
        DATASETS["mnist"].images("train")


def test_the_cache_is_where_the_operating_system_wants_it_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert published.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv(published.CACHE_VARIABLE)
    assert published.cache_folder().name == "ulpm"


def test_a_data_set_that_nobody_serves_has_classes_and_splits_of_its_own(tmp_path: Path, cache: Path) -> None:
    labels = np.arange(12, dtype=np.uint8) % 3
    files = idx_files(PIXELS[:12, :, :5, :4], labels)
    made = published.PublishedImages(
        name="made",
        title="Made",
        classes=("a", "b", "c"),
        shape=(1, 5, 4),
        read=read_idx,
        files={"train": published.Files({file: md5(data) for file, data in files.items()})},
    )
    assert (made.num_classes, made.splits) == (3, ("train",))
    with pytest.raises(OSError, match=rf"^made is not on this machine: give a folder with {IMAGE_FILE}, .* as path\.$"):
        made.images("train")
    with pytest.raises(ValueError, match="made has no test split"):
        made.images("test")
    with pytest.raises(OSError, match="does not hold made: path must be a folder with"):
        made.images("train", tmp_path)
    pixels, got, _ = made.images("train", write(tmp_path / "mine", files))
    assert np.array_equal(pixels, PIXELS[:12, :, :5, :4])
    assert np.array_equal(got, labels)
    more = dataclasses.replace(made, classes=("a", "b"))
    with pytest.raises(
        OSError, match=rf"{LABEL_FILE} is damaged: it has the label 2, outside 0 … 1: give another copy"
    ):
        more.images("train", tmp_path / "mine")
    write(cache / "made", {**files, LABEL_FILE: b""})
    with pytest.raises(OSError, match=r"starts with nothing, not 00 00 08 01: put another copy there\.$"):
        made.images("train")


def test_images_of_another_shape_than_the_record_says_are_refused(tmp_path: Path) -> None:
    # KMNIST's training images have no checksum of their contents.
    folder = write(tmp_path / "mine", idx_files(PIXELS[:, :, 1:], LABELS))
    with pytest.raises(OSError, match=r"has images of 1 × 27 × 28 pixels, not 1 × 28 × 28: give another copy as path"):
        DATASETS["kmnist"].images("train", folder)


def test_what_is_known_of_the_published_files_is_well_formed() -> None:
    known = {name: each for name, each in DATASETS.items() if isinstance(each, published.PublishedImages)}
    assert set(known) == {"mnist", "kmnist", "fashion-mnist", "cifar10"}
    for name, found in known.items():
        assert all(address.startswith("http") and address.endswith("/") for address in found.mirrors)
        assert set(found.splits) == {"train", "test"}
        assert len(set(found.classes)) == 10
        for split, files in found.files.items():
            sums = [*files.downloads.values(), *(md5 for md5 in files.contents.values() if md5)]
            assert all(len(md5) == 32 and set(md5) <= set("0123456789abcdef") for md5 in sums)
            assert len(set(sums)) == len(sums)
            assert len(files.contents) == (2 if name != "cifar10" else 5 if split == "train" else 1)
