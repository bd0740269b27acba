"""Data sets are standardised tensors, and subsets are drawn from a seed with the class counts that were asked for."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_files import cifar_files, idx_files, images_and_labels, publish, publish_test_split, write

import ulpm
from real_experiments.data import Dataset, load_dataset, standardised, subset, unseen
from real_experiments.datasets import DATASETS
from real_experiments.datasets.embedded import EmbeddedImages


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load_dataset("fashion-mnist-sample")


def toy(counts: tuple[int, ...] = (6, 5, 7)) -> Dataset:
    """Images that are their own index, in a shuffled order of classes."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    images = torch.arange(len(labels), dtype=torch.float32).reshape(-1, 1, 1, 1)
    return Dataset("toy", images, labels, len(counts), "Made up.")


def indices(dataset: Dataset) -> list[int]:
    return dataset.images.flatten().int().tolist()


def test_the_embedded_sample_is_a_standardised_data_set(sample: Dataset) -> None:
    images, labels = ulpm.fashion_mnist_sample()
    assert sample.images.shape == (1000, 1, 28, 28)
    assert sample.images.dtype == torch.float32
    assert sample.images.is_contiguous()
    assert torch.equal(sample.labels, labels)
    assert sample.class_counts == (100,) * 10
    assert (sample.name, sample.num_classes) == ("fashion-mnist-sample", 10)
    assert "embedded" in sample.source
    want = (images - images.mean()) / images.std(correction=0)
    torch.testing.assert_close(sample.images.double().flatten(1), want, rtol=0, atol=1e-6)


def test_every_channel_is_standardised_over_all_images() -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (2500, 3, 5, 4), dtype=np.uint8)
    pixels[:, 1] //= 3
    mean, std = pixels.mean((0, 2, 3), keepdims=True), pixels.std((0, 2, 3), keepdims=True)
    got = standardised(pixels)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (pixels - mean) / std, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(got.mean((0, 2, 3), dtype=np.float64), 0, atol=1e-7)
    np.testing.assert_allclose(got.std((0, 2, 3), dtype=np.float64), 1, atol=1e-7)


def test_a_channel_without_variation_cannot_be_standardised() -> None:
    pixels = images_and_labels(channels=2)[0]
    pixels[:, 1] = 7
    with pytest.raises(ValueError, match="channel 1 has the same value in every pixel"):
        standardised(pixels)


@pytest.mark.parametrize("name", ["mnist", "kmnist", "fashion-mnist", "cifar10"])
def test_the_published_data_sets_become_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pixels, labels = images_and_labels(30, 3, 32) if name == "cifar10" else images_and_labels(30)
    files = cifar_files(pixels, labels) if name == "cifar10" else idx_files(pixels, labels)
    publish(monkeypatch, name, files)
    dataset = load_dataset(name, write(tmp_path, files), device="cpu")
    assert dataset.name == name
    assert dataset.images.shape == pixels.shape
    assert torch.equal(dataset.images, torch.from_numpy(standardised(pixels)))
    assert dataset.labels.tolist() == labels.tolist()
    assert dataset.class_counts == (3,) * 10
    assert dataset.source == f"Read from {tmp_path}."


def test_an_unknown_name_an_unknown_device_and_a_path_of_the_embedded_sample_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no data set 'imagenet': choose one of mnist, kmnist, fashion-mnist, cifar10"
    ):
        load_dataset("imagenet")
    for device in ("abacus", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{device}' is not available here"):
            load_dataset("fashion-mnist-sample", device=device)
    with pytest.raises(ValueError, match="fashion-mnist-sample is embedded, so it has no path"):
        load_dataset("fashion-mnist-sample", tmp_path)


@pytest.mark.usefixtures("unchecked")
def test_a_data_set_that_is_computed_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = images_and_labels(12, 3, 8)
    made = EmbeddedImages(
        name="made",
        title="Made",
        classes=("a", "b", "c"),
        shape=(3, 8, 8),
        read=lambda: (pixels, labels % 3),
        source="Made up.",
    )
    monkeypatch.setitem(DATASETS, "made", made)
    dataset = load_dataset("made")
    assert torch.equal(dataset.images, torch.from_numpy(standardised(pixels)))
    assert dataset.labels.tolist() == (labels % 3).tolist()
    assert (dataset.num_classes, dataset.source) == (3, "Made up.")
    for wrong in (pixels[:, :1], pixels.astype(np.float32)):
        monkeypatch.setitem(DATASETS, "made", dataclasses.replace(made, read=lambda wrong=wrong: (wrong, labels)))
        with pytest.raises(ValueError, match=r"the images of made must be bytes of shape \(3, 8, 8\), but they are"):
            load_dataset("made")


@pytest.mark.usefixtures("unchecked")
def test_a_data_set_that_contradicts_itself_is_refused() -> None:
    images, labels = torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 2, 1])
    with pytest.raises(ValueError, match=r"labels must lie in 0 … 1, but they lie in 0 … 2\."):
        Dataset("x", images, labels, 2, "")
    with pytest.raises(ValueError, match=r"labels must lie in 0 … 2, but they lie in -1 … 1\."):
        Dataset("x", images, labels - 1, 3, "")
    with pytest.raises(TypeError, match=r"but they are torch\.float64 and torch\.int64"):
        Dataset("x", images.double(), labels, 3, "")
    with pytest.raises(TypeError, match=r"but they are torch\.float32 and torch\.uint8"):
        Dataset("x", images, labels.byte(), 3, "")
    for wrong_images, wrong_labels in ((images[0], labels), (images, labels[:3]), (images[:0], labels[:0])):
        with pytest.raises(ValueError, match=r"images must be \[N, C, H, W\]"):
            Dataset("x", wrong_images, wrong_labels, 3, "")


def test_a_class_may_be_empty_and_is_counted(sample: Dataset) -> None:
    few = Dataset("x", sample.images[:150], sample.labels[:150], 4, "")
    assert few.class_counts == (100, 50, 0, 0)


def test_without_a_wish_a_subset_is_the_data_set_itself(sample: Dataset) -> None:
    assert subset(sample) is sample


def test_a_balanced_subset_keeps_the_order_and_the_standardised_pixels_of_its_images() -> None:
    whole = toy()
    part = subset(whole, size=9)
    assert part.class_counts == (3, 3, 3)
    kept = indices(part)
    assert kept == sorted(set(kept))
    assert torch.equal(part.images, whole.images[kept])
    assert torch.equal(part.labels, whole.labels[kept])
    assert part.source == "Made up. Of its 18 images 9 were drawn: 3 a class (seed 0)."
    assert (part.name, part.num_classes) == ("toy", 3)


def test_class_counts_may_differ_and_may_leave_out_the_last_classes() -> None:
    part = subset(toy(), class_counts=[6, 1, 4])
    assert part.class_counts == (6, 1, 4)
    assert part.source == "Made up. Of its 18 images 11 were drawn: 6, 1, 4 of classes 0, 1, … (seed 0)."
    first_two = subset(toy(), class_counts=(2, 5))
    assert first_two.class_counts == (2, 5)
    assert first_two.num_classes == 2


def test_the_seed_decides_which_images_and_fewer_images_are_among_more() -> None:
    whole = toy()
    assert indices(subset(whole, size=9, seed=5)) == indices(subset(whole, size=9, seed=5))
    assert len({tuple(indices(subset(whole, size=9, seed=seed))) for seed in range(20)}) > 10
    assert set(indices(subset(whole, size=6, seed=5))) < set(indices(subset(whole, class_counts=[3, 4, 3], seed=5)))


def test_every_image_of_a_class_is_as_likely_as_the_others() -> None:
    whole = toy((6, 6))
    drawn = torch.tensor([indices(subset(whole, size=4, seed=seed)) for seed in range(600)]).flatten()
    # 200 draws expected of each of the 12 images, standard deviation √(600 · ⅓ · ⅔) ≈ 11.5: five of them.
    assert int((torch.bincount(drawn, minlength=12) - 200).abs().max()) < 58


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 6, "class_counts": [2, 2, 2]}, ValueError, "exclude each other"),
        ({"size": 7}, ValueError, "a balanced subset of 3 classes has a multiple of 3 images, but size is 7"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 6.0}, TypeError, "size must be an integer, but 6.0 was given"),
        ({"size": 18}, ValueError, "class 1 of toy has only 5 images, but 6 were asked for"),
        ({"class_counts": [1, 1, 8]}, ValueError, "class 2 of toy has only 7 images, but 8 were asked for"),
        ({"class_counts": [1, 0, 1]}, ValueError, r"class_counts\[1\] must be at least 1"),
        ({"class_counts": [1, True, 1]}, TypeError, r"class_counts\[1\] must be an integer, but True was given"),
        ({"class_counts": [4]}, ValueError, r"class_counts must have 2 … 3 entries for toy, but it has 1\."),
        ({"class_counts": [1] * 4}, ValueError, r"class_counts must have 2 … 3 entries for toy, but it has 4\."),
        ({"size": 6, "seed": -1}, ValueError, "seed must be at least 0"),
        ({"size": 6, "seed": 2**63}, ValueError, "seed must be .* below 2"),
    ],
)
def test_a_subset_that_cannot_be_drawn_is_refused_with_one_sentence(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        subset(toy(), **options)  # type: ignore[arg-type]


def test_unseen_images_are_none_of_those_that_were_drawn() -> None:
    whole = toy((9, 8, 10))
    for seed in range(5):
        seen, others = subset(whole, class_counts=(4, 2, 5), seed=seed), unseen(whole, (4, 2, 5), 12, seed)
        assert others.class_counts == (4, 4, 4)
        assert not set(indices(seen)) & set(indices(others))
    assert others.source == "Made up. Of its 27 images 12 others were drawn: 4 a class (seed 4)."
    first_two = unseen(whole, (4, 2), 6)
    assert first_two.num_classes == 2
    assert not set(indices(first_two)) & set(indices(subset(whole, class_counts=(4, 2))))
    with pytest.raises(ValueError, match="class 1 of toy has only 8 images, but 7 were asked for beside 2 others"):
        unseen(whole, (2, 2, 2), 21)
    with pytest.raises(ValueError, match="a balanced set of 3 classes has a multiple of 3 images, but not 7"):
        unseen(whole, (2, 2, 2), 7)


def test_test_images_are_in_the_units_of_the_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = images_and_labels(30)
    others, other_labels = images_and_labels(20, seed=1)
    others = others // 2
    publish(monkeypatch, "mnist", idx_files(pixels, labels))
    publish_test_split(monkeypatch, "mnist", idx_files(others, other_labels, "t10k"))
    folder = write(tmp_path, idx_files(pixels, labels) | idx_files(others, other_labels, "t10k"))
    test = load_dataset("mnist", folder, split="test", standardised_like="train")
    expected = (others - pixels.mean()) / pixels.std()
    torch.testing.assert_close(test.images, torch.from_numpy(expected).float(), rtol=1e-6, atol=1e-6)
    alone = load_dataset("mnist", folder, split="test")
    assert abs(float(alone.images.double().mean())) < 1e-6
    assert test.labels.tolist() == other_labels.tolist()
    with pytest.raises(ValueError, match="fashion-mnist-sample has no test split"):
        load_dataset("fashion-mnist-sample", split="test")


def test_a_class_that_is_missing_from_the_data_set_is_named() -> None:
    with pytest.raises(ValueError, match="class 1 of toy has no images, but 1 were asked for: ask for fewer"):
        subset(toy((4, 0, 4)), size=3)


def test_the_global_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    subset(toy(), size=3, seed=9)
    assert torch.equal(torch.random.get_rng_state(), before)


PACKAGE = DATASETS["fashion-mnist"].package.folder


@pytest.mark.real_data
@pytest.mark.skipif(not PACKAGE.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_full_fashion_mnist_is_the_published_one() -> None:
    dataset = load_dataset("fashion-mnist", download=False)
    assert dataset.images.shape == (60000, 1, 28, 28)
    assert dataset.class_counts == (6000,) * 10
    assert "Debian package dataset-fashion-mnist" in dataset.source
    # The mean and the standard deviation of its pixels that everyone quotes are 0.2860 and 0.3530 (of 1): a black and a
    # white pixel are where these numbers say.
    black, white = float(dataset.images.min()), float(dataset.images.max())
    assert abs(black + 0.2860 / 0.3530) < 1e-3
    assert abs(white - (1 - 0.2860) / 0.3530) < 2e-3
    # The sample is the first hundred images of each class, whatever it was standardised with.
    first = torch.cat([dataset.images[dataset.labels == k][:100] for k in range(10)])
    pixels = (first - black) / (white - black)
    torch.testing.assert_close(pixels.flatten(1).double(), ulpm.fashion_mnist_sample()[0], rtol=0, atol=1e-6)


@pytest.mark.real_data
@pytest.mark.skipif(not PACKAGE.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_test_split_of_fashion_mnist_is_other_images_in_the_same_units() -> None:
    training = load_dataset("fashion-mnist", download=False)
    test = load_dataset("fashion-mnist", download=False, split="test", standardised_like="train")
    assert test.images.shape == (10000, 1, 28, 28)
    assert test.class_counts == (1000,) * 10
    assert test.images.unique().numel() == 256
    assert torch.equal(test.images.unique(), training.images.unique())  # a pixel of 17 is the same number in both
    seen = {image.numpy().tobytes() for image in training.images}
    assert not any(image.numpy().tobytes() in seen for image in test.images)
