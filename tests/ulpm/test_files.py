"""Files are the old version or the whole new one, and unreadable ones are refused with one sentence."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ulpm import _files


def test_tensors_and_metadata_come_back_as_they_were_written(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3).mT, "b": torch.tensor([1, 2]), "empty": torch.zeros(0, 3)}
    _files.write_tensors(tmp_path / "sub" / "x.safetensors", tensors, {"n": 3, "s": "ρ²"})
    read, metadata = _files.read_tensors(tmp_path / "sub" / "x.safetensors")
    assert metadata == {"n": 3, "s": "ρ²"}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, -1])
def test_a_truncated_file_is_refused_with_one_sentence(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.safetensors"
    _files.write_tensors(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(OSError, match=r"could not be read: it is damaged or truncated"):
        _files.read_tensors(path)


def test_missing_and_foreign_files_are_refused_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="there is no such file"):
        _files.read_tensors(tmp_path / "missing.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.ones(2)}, foreign)
    with pytest.raises(OSError, match="not one that ulpm wrote"):
        _files.read_tensors(foreign)
    with pytest.raises(OSError, match="could not be read"):
        _files.read_text(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OSError, match="it is not text"):
        _files.read_text(tmp_path / "binary")


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    _files.write_tensors(path, {"a": torch.ones(100)}, {"n": 1})
    content = bytearray(path.read_bytes())
    content[-17] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="its checksum does not match"):
        _files.read_tensors(path)


def test_a_failing_write_leaves_the_earlier_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    _files.write_text(path, "earlier")

    def fail(temporary: Path) -> None:
        temporary.write_text("half of the n")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"could not be written \(No space left on device\)"):
        _files.replace_file(path, fail)
    assert path.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("name", ["j" * 250 + ".json", "é" * 127, "a." + "b" * 253])
def test_the_longest_name_of_the_file_system_is_written_and_replaced(name: str, tmp_path: Path) -> None:
    for text in ("first", "second"):
        _files.write_text(tmp_path / name, text)
        assert (tmp_path / name).read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x.json", "x[1].json", "j" * 250 + ".json"])
def test_what_a_process_killed_while_writing_left_is_removed_and_nothing_else(name: str, tmp_path: Path) -> None:
    file, others = tmp_path / name, [tmp_path / ".other.json.abc", tmp_path / "kept"]
    for other in others:
        other.mkdir()

    def killed(temporary: Path) -> None:
        left = tmp_path / f"{temporary.parent.name}-copy"
        shutil.copytree(temporary.parent, left)
        temporary.write_text("new")

    _files.replace_file(file, killed)
    assert len(list(tmp_path.iterdir())) == 4
    _files.remove_leftovers(file)
    assert sorted(tmp_path.iterdir()) == sorted([file, *others])


def test_a_program_error_while_writing_is_not_disguised_as_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        _files.write_tensors(tmp_path / "x.safetensors", {}, {"not json": float("nan")})
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
import torch
from ulpm import _files
path = Path(sys.argv[1])
_files.write_tensors(path, {"a": torch.ones(4)}, {"version": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    _files.write_tensors(path, {"a": torch.ones(10**6)}, {"version": 2})
except OSError as error:
    print(json.dumps(str(error)))
"""


def test_when_the_system_refuses_more_bytes_the_earlier_file_survives(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    message = json.loads(done.stdout)
    assert "could not be written" in message
    assert message.endswith("the earlier version of it is untouched.")
    assert _files.read_tensors(path)[1] == {"version": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def saved(path: Path, edit: str = "") -> Path:
    """A file with metadata; ``edit`` replaces text in its header by other text of the same length: "old->new"."""
    _files.write_tensors(path, {"a": torch.ones(4, dtype=torch.float64)}, {"steps": 120, "name": "x"})
    if edit:
        old, new = edit.encode().split(b"->")
        content = path.read_bytes()
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))
    return path


@pytest.mark.parametrize("edit", ["120->121", "F64->I64", '"a":->"b":', "name->mame", "[4]->[2]"])
def test_a_change_of_the_header_is_found_as_one_of_the_numbers_is(tmp_path: Path, edit: str) -> None:
    with pytest.raises(OSError, match=r"x.safetensors (is damaged: its checksum|could not be read: it is damaged)"):
        _files.read_tensors(saved(tmp_path / "x.safetensors", edit))


@pytest.mark.parametrize("text", ['{"a":' * 10**5, '{"a": 1', "{", '{"a": ' + "9" * 5000 + "}"])
def test_metadata_that_are_no_object_are_refused_with_one_sentence(tmp_path: Path, text: str) -> None:
    import safetensors.torch

    file = tmp_path / "x.safetensors"
    safetensors.torch.save_file({}, file, {"ulpm": f"{_files._digest(text, {})} {text}"})
    (tmp_path / "x.json").write_text(text)
    for read, path in ((_files.read_tensors, file), (_files.read_json, tmp_path / "x.json")):
        with pytest.raises(OSError, match=rf"{path.name} could not be read: it is damaged or truncated") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_tensors_that_share_memory_are_saved_each_by_itself(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    _files.write_tensors(tmp_path / "x", {"a": whole, "b": whole[2:4], "c": whole.view(2, 3).mT}, {})
    read, _ = _files.read_tensors(tmp_path / "x")
    assert torch.equal(read["b"], whole[2:4])
    assert torch.equal(read["c"], whole.view(2, 3).mT)
