"""Files of every kind give the arrays that were saved, and wrong ones one sentence with their name."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

import ulpm
from ulpm.features.columns import open_columns

Arrays = Mapping[str, np.ndarray]


def save_npz(file: Path, arrays: Arrays) -> Path:
    np.savez(file.with_suffix(".npz"), **arrays)
    return file.with_suffix(".npz")


def save_compressed(file: Path, arrays: Arrays) -> Path:
    np.savez_compressed(file.with_suffix(".npz"), **arrays)
    return file.with_suffix(".npz")


def save_safetensors(file: Path, arrays: Arrays) -> Path:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    safetensors.torch.save_file(tensors, file.with_suffix(".safetensors"))
    return file.with_suffix(".safetensors")


def save_parquet(file: Path, arrays: Arrays) -> Path:
    columns = {name: list(value) if value.ndim == 2 else value for name, value in arrays.items()}
    pq.write_table(pa.table(columns), file.with_suffix(".parquet"), row_group_size=7)
    return file.with_suffix(".parquet")


SAVERS = {"npz": save_npz, "compressed": save_compressed, "safetensors": save_safetensors, "parquet": save_parquet}


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    g = np.random.default_rng(0)
    return {"features": g.normal(size=(20, 3)), "labels": g.permutation(np.arange(20) % 4)}


def whole(features: ulpm.Features) -> torch.Tensor:
    return torch.cat([part for _, part in features.tiles()])


@pytest.mark.parametrize("rows", [1, 6, 100])
@pytest.mark.parametrize("kind", SAVERS)
def test_parts_put_together_are_the_array(kind: str, rows: int, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    columns = open_columns(SAVERS[kind](tmp_path / "x", arrays))
    for name, value in arrays.items():
        parts = list(columns[name].parts(rows))
        assert max(map(len, parts)) <= rows
        np.testing.assert_array_equal(np.concatenate(parts), value)
        assert columns[name].shape == value.shape


@pytest.mark.parametrize("kind", SAVERS)
def test_every_kind_of_file_is_read_as_it_was_saved(kind: str, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    features = ulpm.load_features(SAVERS[kind](tmp_path / "x", arrays))
    np.testing.assert_array_equal(whole(features).numpy(), arrays["features"])
    np.testing.assert_array_equal(features.labels.numpy(), arrays["labels"])
    assert features.class_names == ("0", "1", "2", "3")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">f4", "<f2"])
def test_a_npy_file_may_have_any_order_and_number_format(order: str, dtype: str, tmp_path: Path) -> None:
    value = np.random.default_rng(1).normal(size=(9, 5)).astype(dtype)
    np.save(tmp_path / "h.npy", np.asarray(value, order=order))  # type: ignore[call-overload]
    np.save(tmp_path / "y.npy", np.arange(9) % 2)
    features = ulpm.load_features(tmp_path / "h.npy", labels=tmp_path / "y.npy")
    np.testing.assert_array_equal(whole(features).numpy(), value.astype(value.dtype.newbyteorder("=")))


def test_bfloat16_is_read_without_loss(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    half = torch.from_numpy(arrays["features"]).bfloat16()
    safetensors.torch.save_file({"X": half, "y": torch.from_numpy(arrays["labels"])}, tmp_path / "x.safetensors")
    torch.testing.assert_close(whole(ulpm.load_features(tmp_path / "x.safetensors")), half.float(), rtol=0, atol=0)


def test_columns_of_numbers_in_a_table_are_the_features(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    table = {f"f{i}": arrays["features"][:, i] for i in range(3)}
    pq.write_table(pa.table({"id": np.arange(20), **table, "y": arrays["labels"]}), tmp_path / "x.parquet")
    np.testing.assert_array_equal(whole(ulpm.load_features(tmp_path / "x.parquet")).numpy(), arrays["features"])


@pytest.mark.parametrize("names", [("a", "b", "c", "d"), (-7, 3, 10**12, 4), (b"x", b"yy", b"z", b"w")])
@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_labels_of_any_integers_or_text_become_named_classes(
    kind: str, names: tuple[object, ...], tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    if kind == "parquet" and isinstance(names[0], bytes):
        names = tuple(name.decode() for name in names)  # type: ignore[attr-defined]
    saved = np.array(names)[arrays["labels"]]
    features = ulpm.load_features(SAVERS[kind](tmp_path / "x", {**arrays, "labels": saved}))
    shown = [name.decode() if isinstance(name, bytes) else name for name in names]
    assert features.class_names == tuple(str(name) for name in sorted(shown))
    found = [features.class_names[k] for k in features.labels.tolist()]
    assert found == [str(shown[k]) for k in arrays["labels"]]


def test_rows_of_the_classifier_belong_to_the_classes_that_are_named(tmp_path: Path) -> None:
    labels = np.array(["dog", "cat", "dog", "cow"])
    arrays = {"X": np.eye(4), "y": labels, "W": np.diag([1.0, 2, 3, 4])[:3], "classes": np.array(["dog", "cat", "cow"])}
    features = ulpm.load_features(save_npz(tmp_path / "x", arrays))
    assert features.labels.tolist() == [0, 1, 0, 2]
    by_index = ulpm.load_features(save_npz(tmp_path / "x", {**arrays, "y": np.array([0, 1, 0, 2])}))
    assert (by_index.labels.tolist(), by_index.class_names) == ([0, 1, 0, 2], ("dog", "cat", "cow"))
    del arrays["classes"]
    assert ulpm.load_features(save_npz(tmp_path / "x", arrays)).labels.tolist() == [2, 0, 2, 1]


def test_logits_and_labels_are_predictions(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    logits = np.random.default_rng(2).normal(size=(20, 4))
    of_logits = ulpm.load_features(save_npz(tmp_path / "x", {**arrays, "logits": logits}))
    np.testing.assert_array_equal(of_logits.predictions, logits.argmax(1))
    given = save_npz(tmp_path / "x", {**arrays, "predictions": logits.argmax(1)})
    np.testing.assert_array_equal(ulpm.load_features(given).predictions, logits.argmax(1))


def test_samples_may_be_columns_as_in_snapshots_of_a_run(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    file = save_safetensors(tmp_path / "x", {"H": arrays["features"].T, "labels": arrays["labels"]})
    np.testing.assert_array_equal(whole(ulpm.load_features(file)).numpy(), arrays["features"])


def test_other_names_and_other_files_are_found(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    W, b = np.ones((4, 3)), np.zeros(4)
    np.save(tmp_path / "h.npy", arrays["features"])
    other = save_npz(tmp_path / "head", {"labels": arrays["labels"], "weight": W, "bias": b, "z": b})
    features = ulpm.load_features(tmp_path / "h.npy", labels=other, classifier=other, bias=str(other))
    assert features.classifier is not None
    assert features.bias is not None
    renamed = save_npz(tmp_path / "x", {"a": arrays["features"], "b": arrays["labels"]})
    assert torch.equal(ulpm.load_features(renamed, features="a", labels="b", bias=None).labels, features.labels)


def broken(name: str, change: Callable[[dict[str, np.ndarray]], object], words: str) -> pytest.param:
    return pytest.param(change, words, id=name)


NAN = np.full((20, 3), np.nan)
WRONG = [
    broken("no labels", lambda a: a.pop("labels"), r"must hold labels .* but it holds features \[20, 3\]"),
    broken("no features", lambda a: a.pop("features"), r"must hold features .* but it holds labels \[20\]"),
    broken("two features", lambda a: a.update(X=a["features"]), "holds features and X, which may both be features"),
    broken("shape", lambda a: a.update(features=np.ones((7, 3))), r"a row for each of the 20 .* shape is \[7, 3\]"),
    broken("axes", lambda a: a.update(features=np.ones((20, 3, 2))), r"must have shape \[N, d\]"),
    broken("integers", lambda a: a.update(features=np.ones((20, 3), int)), "must hold floating-point numbers"),
    broken("fractions", lambda a: a.update(labels=np.linspace(0, 1, 20)), "must be integers or text"),
    broken("one class", lambda a: a.update(labels=np.zeros(20, int)), "two classes or more"),
    broken(
        "matrix of labels",
        lambda a: a.update(labels=np.ones((20, 2), int)),
        r"must have one axis, but its shape is \[20, 2\]: store class indices",
    ),
    broken("objects", lambda a: a.update(labels=np.array([{}] * 20)), "holds Python objects, which are never loaded"),
    broken("few rows", lambda a: a.update(W=np.ones((3, 3))), "as many classes as the classifier has rows, 3"),
    broken("an absent class", lambda a: a.update(W=np.ones((6, 3))), "each of the 6 classes, but 4, 5 has none"),
    broken("wide rows", lambda a: a.update(W=np.ones((4, 5))), r"must have shape \[4, 3\], a row a class"),
    broken("a lone bias", lambda a: a.update(b=np.ones(4)), "a bias needs the classifier"),
    broken("infinite rows", lambda a: a.update(W=np.full((4, 3), np.inf)), "must be finite, but it has NaN"),
    broken("few names", lambda a: a.update(classes=np.array(["a", "b"])), "names of classes or their indices"),
    broken("equal names", lambda a: a.update(classes=np.array(["a"] * 4)), "must differ from each other"),
    broken("few logits", lambda a: a.update(logits=np.ones((20, 3))), r"of logits, \[20, 4\]"),
    broken("text as logits", lambda a: a.update(logits=np.full((20, 4), "x")), "finite floating-point numbers"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("change", "words"), WRONG)
def test_a_wrong_file_gets_one_sentence_with_its_name(
    change: Callable[[dict[str, np.ndarray]], object], words: str, tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    change(arrays)
    file = save_npz(tmp_path / "x", arrays)
    with pytest.raises((ValueError, OSError), match=words) as raised:
        ulpm.load_features(file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_objects_and_other_files_in_an_archive_are_left_alone(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    file = save_npz(tmp_path / "x", {**arrays, "about": np.array([{"any": "thing"}], dtype=object)})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("readme.txt", "a note")
    np.testing.assert_array_equal(whole(ulpm.load_features(file)).numpy(), arrays["features"])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(OSError, match=r"objects.npy could not be read: .*holds Python objects, which are never loaded"):
        ulpm.load_features(tmp_path / "objects.npy")


@pytest.mark.usefixtures("unchecked")
def test_numbers_that_are_not_finite_are_named_by_their_row(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    arrays["features"][13, 1] = np.nan
    file = save_npz(tmp_path / "x", arrays)
    with pytest.raises(ValueError, match=r"features in .*x.npz must be finite, but row 13 has NaN or infinity"):
        ulpm.load_features(file).measure()


@pytest.mark.usefixtures("unchecked")
def test_numbers_whose_squares_overflow_are_named_by_their_row(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    arrays["features"] = arrays["features"].astype(np.float64)
    arrays["features"][13, 1] = -1e200
    file = save_npz(tmp_path / "x", arrays)
    with pytest.raises(ValueError, match=r"x.npz must be at most 1e\+150 in size, .* but row 13 has 1e\+200: divide"):
        ulpm.load_features(file).measure()


@pytest.mark.usefixtures("unchecked")
def test_files_that_are_missing_or_something_else_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"x.npy could not be read: there is no such file"):
        ulpm.load_features(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"x.csv must end in .npz, .npy, .safetensors or .parquet"):
        ulpm.load_features(tmp_path / "x.csv")
    np.save(tmp_path / "h.npy", np.eye(3))
    whole_file = (tmp_path / "h.npy").read_bytes()
    for damaged in (whole_file[:-8], whole_file + bytes(8), whole_file[:40], b""):
        (tmp_path / "h.npy").write_bytes(damaged)
        with pytest.raises(OSError, match=r"h.npy could not be read: damaged or unsupported"):
            ulpm.load_features(tmp_path / "h.npy")


ROWS: dict[str, tuple[list[object], str]] = {
    "of different lengths": ([[1.0, 2.0], [3.0]], "the rows of H have different lengths"),
    "of as many numbers in all": ([[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]], "the rows of H have different lengths"),
    "of vectors": ([[[1.0, 2.0]], [[3.0, 4.0]]], "the rows of H are no vectors of numbers"),
    "first without a value": ([None, [1.0, 2.0]], "H has rows without a value"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_a_table_that_are_no_vectors_of_one_length_get_one_sentence(kind: str, tmp_path: Path) -> None:
    rows, sentence = ROWS[kind]
    pq.write_table(pa.table({"H": rows, "y": list(range(len(rows)))}), tmp_path / "rows.parquet")
    with pytest.raises(OSError, match=f"rows.parquet could not be read: .*{sentence}"):
        whole(ulpm.load_features(tmp_path / "rows.parquet"))


def test_a_table_without_rows_or_with_two_columns_of_one_name_gets_one_sentence(tmp_path: Path) -> None:
    table = pa.table({"H": [[1.0, 2.0], [3.0, 4.0]], "y": [0, 1]})
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match=r"y in .*empty.parquet must hold a label, but it is empty"):
        ulpm.load_features(tmp_path / "empty.parquet")
    pq.write_table(table.append_column("y", [[1, 0]]), tmp_path / "twice.parquet")
    with pytest.raises(OSError, match=r"twice.parquet could not be read: .*it has several columns y"):
        ulpm.load_features(tmp_path / "twice.parquet")


@pytest.mark.parametrize("kind", SAVERS)
def test_a_default_device_of_torch_has_no_part_in_it(kind: str, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    file = SAVERS[kind](tmp_path / "a", arrays)
    with torch.device("meta"):
        found = ulpm.load_features(file).measure()
    assert found.metrics == ulpm.load_features(file).measure().metrics


def test_a_parquet_file_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"x.parquet needs the package pyarrow .*pip install 'ulpm\[parquet\]'"):
        ulpm.load_features(tmp_path / "x.parquet")


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_that_are_text_are_in_the_order_of_numbers(first: int) -> None:
    W = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(24) % 12
    features = ulpm.Features.of(W[labels], [str(first + int(k)) for k in labels], W)
    assert features.labels.tolist() == labels.tolist()
    assert features.class_names == tuple(str(first + k) for k in range(12))
    assert features.measure().metrics["nc3_duality"] < 1e-6


def test_a_table_may_have_labels_of_categories(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    names = pa.array([f"c{k}" for k in arrays["labels"]]).dictionary_encode()
    table = pa.table({"features": list(arrays["features"]), "labels": names})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    found = ulpm.load_features(tmp_path / "a.parquet")
    assert [found.class_names[k] for k in found.labels] == names.to_pylist()
