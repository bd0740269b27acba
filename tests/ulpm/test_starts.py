"""Starts by name: short forms of class counts, files of features, the embedded images."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import ulpm
from ulpm.starts import SAMPLE, parse_class_counts, read_features, start_from_features

CPU = torch.device("cpu")


@pytest.mark.parametrize(("text", "counts"), [("50x3", [50, 50, 50]), ("7,5,5,4", [7, 5, 5, 4]), ("2x1", [2])])
def test_class_counts_have_a_short_form(text: str, counts: list[int]) -> None:
    assert parse_class_counts(text) == counts


@pytest.mark.parametrize("text", ["", "a", "5x", "x5", "5x5x5", "1.5,2", "3;4"])
def test_other_texts_are_refused_with_the_forms_that_are_meant(text: str) -> None:
    with pytest.raises(ValueError, match="written like 50x10 or 7,5,5,4"):
        parse_class_counts(text)


@pytest.fixture
def arrays() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "features": torch.randn(7, 4, generator=g, dtype=torch.float64),
        "labels": torch.tensor([2, 0, 1, 1, 0, 2, 0]),
        "classifier": torch.randn(3, 4, generator=g, dtype=torch.float64),
    }


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("with_classifier", [True, False])
def test_both_kinds_of_file_give_the_start_that_the_arrays_give(
    tmp_path: Path, arrays: dict[str, torch.Tensor], ending: str, with_classifier: bool
) -> None:
    if not with_classifier:
        del arrays["classifier"]
    file = tmp_path / f"features{ending}"
    if ending == ".npz":
        np.savez(file, **{name: value.numpy() for name, value in arrays.items()})
    else:
        safetensors.torch.save_file(arrays, file)
    problem, state = start_from_features(str(file), None, 3, torch.float64, CPU)
    expected_problem, expected = ulpm.from_features(**arrays, seed=3)
    assert problem == expected_problem
    assert torch.equal(state.W, expected.W)
    assert torch.equal(state.H, expected.H)


def test_scale_sets_the_root_mean_square_norm_and_keeps_the_classifier_in_proportion(
    tmp_path: Path, arrays: dict[str, torch.Tensor]
) -> None:
    file = tmp_path / "features.safetensors"
    safetensors.torch.save_file(arrays, file)
    _, plain = start_from_features(str(file), None, 0, torch.float64, CPU)
    _, scaled = start_from_features(str(file), 2.0, 0, torch.float64, CPU)
    assert float(scaled.H.square().sum(0).mean().sqrt()) == pytest.approx(2.0, rel=1e-14)
    factor = scaled.H / plain.H
    torch.testing.assert_close(factor, factor[0, 0].expand_as(factor))
    torch.testing.assert_close(scaled.W, plain.W * factor[0, 0])


@pytest.mark.parametrize("scale", [0.1, 0.3, 2.0, 7.0])
def test_a_scale_is_divided_by_the_length_as_torch_divides(
    tmp_path: Path, arrays: dict[str, torch.Tensor], scale: float
) -> None:
    """The starts of one version are those of the next, bit for bit."""
    file = tmp_path / "features.safetensors"
    safetensors.torch.save_file(arrays, file)
    _, scaled = start_from_features(str(file), scale, 0, torch.float64, CPU)
    factor = scale / arrays["features"].square().sum(-1).mean().sqrt()
    _, expected = ulpm.from_features(
        arrays["features"] * factor, arrays["labels"], classifier=arrays["classifier"] * factor
    )
    assert torch.equal(scaled.H, expected.H)
    assert torch.equal(scaled.W, expected.W)


@pytest.mark.parametrize("size", [1e-40, 1e-27, 1e-22, 1e25])
def test_scale_holds_for_features_whose_squares_float32_does_not_have(
    tmp_path: Path, arrays: dict[str, torch.Tensor], size: float
) -> None:
    file = tmp_path / "features.safetensors"
    small = {name: (arrays[name] * size).float() for name in ("features", "classifier")}
    safetensors.torch.save_file({**arrays, **small}, file)
    _, scaled = start_from_features(str(file), 2.0, 0, torch.float32, CPU)
    assert float(scaled.H.double().square().sum(0).mean().sqrt()) == pytest.approx(2.0, rel=1e-6)


def test_the_embedded_images_are_a_start_in_either_precision() -> None:
    problem, state = start_from_features(SAMPLE, 1.0, 0, torch.float32, CPU)
    assert problem == ulpm.Problem([100] * 10, 784)
    assert state.H.dtype == torch.float32
    images, _ = ulpm.fashion_mnist_sample()
    ratio = state.H[:, 5].double() / images[5].clamp(min=1e-9)
    assert float(ratio[images[5] > 0].std()) < 1e-6


def test_files_may_hold_other_arrays_and_other_number_formats(tmp_path: Path, arrays: dict[str, torch.Tensor]) -> None:
    big_endian = arrays["features"].numpy().astype(">f8")
    names = np.array(["shirt", "shoe", "bag"])
    np.savez(tmp_path / "x.npz", features=big_endian, labels=arrays["labels"].numpy().astype(np.uint16), names=names)
    _, state = start_from_features(str(tmp_path / "x.npz"), None, 3, torch.float64, CPU)
    assert torch.equal(state.H, ulpm.from_features(arrays["features"], arrays["labels"], seed=3)[1].H)
    half = {name: value.half() if value.is_floating_point() else value for name, value in arrays.items()}
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    _, state = start_from_features(str(tmp_path / "half.safetensors"), None, 3, torch.float32, CPU)
    assert torch.equal(state.W, half["classifier"].float())


@pytest.mark.usefixtures("unchecked")
def test_files_that_cannot_be_used_get_one_sentence(tmp_path: Path, arrays: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"must end in .npz, .npy, .safetensors, .parquet, or be the word"):
        read_features(tmp_path / "x.csv")
    with pytest.raises(OSError, match="there is no such file"):
        read_features(tmp_path / "x.npz")
    for name in ("x.npz", "x.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 this is nothing")
        with pytest.raises(OSError, match="damaged or unsupported"):
            read_features(tmp_path / name)
    np.savez(tmp_path / "objects.npz", features=np.array([{}], dtype=object), labels=np.zeros(1))
    with pytest.raises(ValueError, match="must hold floating-point numbers, but its type is object"):
        read_features(tmp_path / "objects.npz")
    np.savez(tmp_path / "half.npz", features=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="must hold labels"):
        read_features(tmp_path / "half.npz")
    np.savez(tmp_path / "bytes.npz", features=np.ones((4, 2), dtype=np.uint8), labels=np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="must hold floating-point numbers"):
        start_from_features(str(tmp_path / "bytes.npz"), 1.0, 0, torch.float64, CPU)
    np.savez(tmp_path / "zeros.npz", features=np.zeros((4, 2)), labels=np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="the features are all 0"):
        start_from_features(str(tmp_path / "zeros.npz"), 1.0, 0, torch.float64, CPU)


@pytest.mark.parametrize("text", ["1x100000000", "5x1000001"])
def test_more_classes_than_any_memory_holds_are_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="no run holds more than 1000000: take fewer"):
        parse_class_counts(text)
