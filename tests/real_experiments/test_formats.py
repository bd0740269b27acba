"""The formats of the published files: read as they are defined, and refused with one sentence when they are not."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from tiny_files import archive, cifar_files, idx, images_and_labels, write

from real_experiments.datasets import formats
from real_experiments.datasets.formats import Contents

SHAPE = (1, 4, 4)
PIXELS, LABELS = images_and_labels(count=12, side=4)
IMAGES = Contents("images", idx(PIXELS[:, 0]))
CLASSES = Contents("labels", idx(LABELS))


def test_a_pair_of_idx_files_gives_images_with_one_channel_and_their_labels() -> None:
    pixels, labels = formats.read_idx([IMAGES, CLASSES], SHAPE, 10)
    assert pixels.shape == (12, 1, 4, 4)
    assert np.array_equal(pixels, PIXELS)
    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (b"", CLASSES.data, "images is no IDX file of 3-axis bytes: it starts with nothing, not 00 00 08 03."),
        (b"<!DOCTYPE html>", CLASSES.data, "images is no IDX file of 3-axis bytes: it starts with 3c 21 44 4f"),
        (CLASSES.data, IMAGES.data, "images is no IDX file of 3-axis bytes: it starts with 00 00 08 01"),
        (IMAGES.data, IMAGES.data, "labels is no IDX file of 1-axis bytes"),
        (IMAGES.data[:10], CLASSES.data, "images is no IDX file"),
        (IMAGES.data[:-1], CLASSES.data, "images is damaged or truncated: its header promises 12 × 4 × 4 entries"),
        (IMAGES.data + b"\0", CLASSES.data, "images is damaged or truncated: its header promises 12 × 4 × 4 entries"),
        (IMAGES.data, CLASSES.data[:-3], "labels is damaged or truncated: its header promises 12 entries"),
        (idx(PIXELS[:0, 0]), idx(LABELS[:0]), "images is damaged or truncated: its header promises 0 × 4 × 4"),
        (IMAGES.data, idx(LABELS[:11]), "labels has 11 labels for the 12 images of images."),
        (IMAGES.data, idx(LABELS + 1), "labels is damaged: it has the label 10, outside 0 … 9."),
        (idx(PIXELS[:, 0, 1:]), CLASSES.data, "images has images of 1 × 3 × 4 pixels, not 1 × 4 × 4."),
    ],
)
def test_an_idx_file_that_is_none_is_refused_with_one_sentence(images: bytes, labels: bytes, message: str) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 (the message is compared below)
        formats.read_idx([Contents("images", images), Contents("labels", labels)], SHAPE, 10)
    assert message in str(caught.value)


def test_a_record_of_cifar10_is_a_label_and_the_red_the_green_and_the_blue_plane_row_by_row() -> None:
    red, green, blue = np.zeros((3, 32, 32), np.uint8)
    red[0, 1], green[2, 3], blue[31, 31] = 10, 20, 30
    record = bytes([7]) + red.tobytes() + green.tobytes() + blue.tobytes()
    assert len(record) == 3073
    pixels, labels = formats.read_records([Contents("one", record), Contents("two", record + record)], (3, 32, 32), 10)
    assert pixels.shape == (3, 3, 32, 32)
    assert labels.tolist() == [7, 7, 7]
    for image in pixels:
        assert (image[0, 0, 1], image[1, 2, 3], image[2, 31, 31]) == (10, 20, 30)
        assert int(image.sum()) == 60


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "batch is damaged or truncated: its 0 bytes are no whole number of images of 3073 bytes."),
        (bytes(3072), "batch is damaged or truncated: its 3072 bytes"),
        (bytes(3074), "batch is damaged or truncated: its 3074 bytes"),
        (bytes([10]) + bytes(3072), "batch is damaged: it has the label 10, outside 0 … 9."),
    ],
)
def test_a_damaged_batch_of_cifar10_is_refused_with_one_sentence(data: bytes, message: str) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        formats.read_records([Contents("batch", data)], (3, 32, 32), 10)
    assert message in str(caught.value)


def test_files_are_decompressed_if_their_name_ends_in_gz(tmp_path: Path) -> None:
    write(tmp_path, {"a": b"contents"})
    write(tmp_path, {"a": b"contents"}, compress=True)
    assert formats.decompress(tmp_path / "a") == (str(tmp_path / "a"), b"contents")
    assert formats.decompress(tmp_path / "a.gz") == (str(tmp_path / "a.gz"), b"contents")


@pytest.mark.parametrize("kept", [0, 1, 5, 11, 40, -9, -8, -1])
def test_a_truncated_gzip_file_is_refused_with_one_sentence(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(range(256)))[:kept])
    if kept == 0:  # an empty gzip file is one without contents
        assert formats.decompress(path).data == b""
        return
    with pytest.raises(OSError, match=r"a\.gz is damaged or truncated \(.*\)\.$"):
        formats.decompress(path)


def test_a_flipped_bit_in_a_gzip_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    compressed = bytearray(gzip.compress(np.random.default_rng(0).bytes(1000)))
    compressed[500] ^= 4
    path.write_bytes(compressed)
    with pytest.raises(OSError, match=r"a\.gz is damaged or truncated \(.*\)\.$"):
        formats.decompress(path)


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MOST_BYTES", 100)
    write(tmp_path, {"most": bytes(100), "bomb": bytes(10**6)}, compress=True)
    assert len(formats.decompress(tmp_path / "most.gz").data) == 100
    with pytest.raises(OSError, match="it holds more than 100 bytes"):
        formats.decompress(tmp_path / "bomb.gz")
    (tmp_path / "bomb.tar.gz").write_bytes(archive({"data_batch_1.bin": bytes(10**6)}))
    with pytest.raises(OSError, match="it holds more than 100 bytes"):
        formats.unpack(tmp_path / "bomb.tar.gz", ["data_batch_1.bin"])


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"could not be read: No such file or directory\.$"):
        formats.decompress(tmp_path / "missing")
    with pytest.raises(OSError, match=r"could not be read: Is a directory\.$"):
        formats.decompress(tmp_path)


def test_an_archive_is_read_without_writing_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = cifar_files(*images_and_labels(10, 3, 32))
    path = tmp_path / "c.tar.gz"
    path.write_bytes(archive(files))
    contents = formats.unpack(path, files)
    assert {name: found.data for name, found in contents.items()} == files
    assert contents["data_batch_2.bin"].place == f"data_batch_2.bin in {path}"
    assert [file.name for file in tmp_path.iterdir()] == ["c.tar.gz"]


def test_a_link_is_not_followed_out_of_an_archive(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, kind in (("data_batch_1.bin", tarfile.SYMTYPE), ("data_batch_2.bin", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(f"x/{name}")
            member.type, member.linkname = kind, str(tmp_path / "secret")
            tar.addfile(member)
    (tmp_path / "links.tar.gz").write_bytes(buffer.getvalue())
    with pytest.raises(OSError, match=r"it lacks data_batch_1\.bin, data_batch_2\.bin"):
        formats.unpack(tmp_path / "links.tar.gz", ["data_batch_1.bin", "data_batch_2.bin"])


def test_a_truncated_or_foreign_archive_is_refused_with_one_sentence(tmp_path: Path) -> None:
    whole = archive({"data_batch_1.bin": np.random.default_rng(0).bytes(10**5)})
    path = tmp_path / "c.tar.gz"
    for damaged in (whole[: len(whole) // 2], whole[:20], b"", b"<html>", gzip.compress(b"no tar" * 200)):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match=r"c\.tar\.gz is damaged or truncated \(.*\)\.$"):
            formats.unpack(path, ["data_batch_1.bin"])
