"""A report of features says what the direct formulas say, tile by tile and class by class."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ulpm
import ulpm.plotting
from ulpm.features import report as report_module
from ulpm.features.columns import Column
from ulpm.metrics import tiles

KEYS = ("features", "labels", "classifier", "bias")


def drawn(counts: tuple[int, ...] = (9, 4, 6, 7), dim: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    K, N = len(counts), sum(counts)
    labels = torch.repeat_interleave(torch.arange(K), torch.tensor(counts))[torch.randperm(N, generator=g)]
    means = torch.randn(K, dim, generator=g, dtype=torch.float64)
    H = means[labels] + 0.5 * torch.randn(N, dim, generator=g, dtype=torch.float64)
    W, b = (torch.randn(*size, generator=g, dtype=torch.float64) for size in ((K, dim), (K,)))
    return {"features": H, "labels": labels, "classifier": W, "bias": b}


def test_metrics_are_those_of_the_direct_formulas_also_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    data = drawn()
    direct = ulpm.neural_collapse(data["classifier"], data["features"].T, data["labels"], data["bias"])
    for largest in (tiles.LARGEST, 40):  # 40 numbers are 5 samples
        monkeypatch.setattr(tiles, "LARGEST", largest)
        features = ulpm.Features.of(*(data[key] for key in KEYS))
        assert len(list(features.tiles())) == (1 if largest > 40 else 6)
        report = features.measure()
        assert list(report.metrics) == list(direct)
        for key, value in direct.items():
            assert report.metrics[key] == pytest.approx(float(value), rel=1e-11), key


def test_without_a_classifier_metrics_of_features_remain_and_predictions_add_nc4() -> None:
    data = drawn()
    direct = ulpm.neural_collapse(data["classifier"], data["features"].T, data["labels"])
    alone = ulpm.Features.of(data["features"], data["labels"]).measure()
    kept = {key for key in direct if key.startswith("nc1") or key.endswith("means")}
    assert set(alone.metrics) == kept
    assert all(alone.metrics[key] == pytest.approx(float(direct[key]), rel=1e-11) for key in kept)
    logits = data["features"] @ data["classifier"].T
    predicted = ulpm.Features.of(data["features"], data["labels"], predictions=logits.argmax(1)).measure()
    assert set(predicted.metrics) == kept | {"nc4_mismatch"}
    assert predicted.metrics["nc4_mismatch"] == pytest.approx(float(direct["nc4_mismatch"]))
    assert predicted.error == pytest.approx(float((logits.argmax(1) != data["labels"]).double().mean()))


def test_predictions_that_are_indices_of_other_labels_are_refused() -> None:
    data = drawn()
    y = data["labels"]
    for labels in (np.array(["cat", "dog", "eel", "fox"])[y].tolist(), torch.tensor([3, 7, 9, 11])[y], y + 1):
        own = ulpm.Features.of(data["features"], labels, predictions=labels).measure()
        assert own.error == 0.0
        with pytest.raises(ValueError, match=r"^predictions must be labels, of .*, but 0.* is none: give the labels"):
            ulpm.Features.of(data["features"], labels, predictions=y)


def test_values_of_classes_have_the_metrics_as_their_means() -> None:
    data = drawn()
    report = ulpm.Features.of(*(data[key] for key in KEYS)).measure()
    shares = np.array(report.per_class["samples"]) / report.num_samples
    assert report.per_class["samples"] == torch.bincount(data["labels"]).tolist()
    assert shares @ report.per_class["spread"] == pytest.approx(report.metrics["nc1_ratio"], rel=1e-12)
    assert np.mean(report.per_class["angle"]) == pytest.approx(report.metrics["nc2_angle_means"], rel=1e-12)
    assert np.mean(report.per_class["duality"]) == pytest.approx(report.metrics["nc3_duality"], rel=1e-12)
    assert shares @ report.per_class["mismatch"] == pytest.approx(report.metrics["nc4_mismatch"], rel=1e-12)
    lengths = np.array(report.per_class["length"])
    assert lengths.std(ddof=1) / lengths.mean() == pytest.approx(report.metrics["nc2_norm_means"], rel=1e-12)
    means = torch.stack([data["features"][data["labels"] == k].mean(0) for k in range(4)])
    expected = [
        min((j for j in range(4) if j != k), key=lambda j: float((means[j] - means[k]).norm())) for k in range(4)
    ]
    assert report.per_class["nearest"] == expected


def test_the_least_collapsed_class_and_what_is_open_are_named() -> None:
    data = drawn()
    names = [("ant", "bee", "cow", "dog")[k] for k in data["labels"]]
    data["features"][data["labels"] == 2] += 3 * torch.randn(6, 8, generator=torch.Generator().manual_seed(5))
    words = " ".join(ulpm.verdict(ulpm.Features.of(data["features"], names).measure()))
    assert "Class cow is farthest from collapse" in words
    assert "Nothing can be said of NC3, NC4 and half of NC2 without the classifier W." in words
    assert "Classes have 4 to 9 samples" in words
    told = " ".join(ulpm.verdict(ulpm.Features.of(*(data[key] for key in KEYS)).measure()))
    assert "NC3 (self-duality)" in told
    assert "without the classifier" not in told
    assert "of the samples are misclassified" in told


def test_a_collapsed_network_is_said_to_be_collapsed() -> None:
    problem = ulpm.Problem([5] * 4, feature_dim=6)
    state = ulpm.collapsed_state(problem, norm=3.0)
    sentences = ulpm.verdict(ulpm.Features.of(state.H.T, problem.labels, state.W).measure())
    assert sum("holds closely" in sentence for sentence in sentences) == 5
    assert sentences[-1] == "Every class is collapsed to within rounding."
    single = ulpm.Features.of(torch.eye(3), ["a", "b", "b"]).measure()
    assert ulpm.verdict(single)[-1] == "NC1 says nothing of classes with one sample: a."
    flat = ulpm.Features.of(
        torch.randn(9, 1, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    ).measure()
    assert any("3 classes cannot form a simplex in 1 dimensions" in sentence for sentence in ulpm.verdict(flat))
    equal = ulpm.Features.of(torch.ones(4, 2), ["a", "b"] * 2).measure()
    assert "cannot be judged" in ulpm.verdict(equal)[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_class_at_the_centre_of_all_has_no_direction_and_the_words_say_so(dtype: torch.dtype) -> None:
    """Rounding gave it a length of 1e-16 and a direction, so that its angle was 0.49."""
    g = torch.Generator().manual_seed(0)
    means = torch.randn(4, 8, generator=g, dtype=torch.float64)
    means[3] = means[:3].mean(0)
    labels, half = torch.arange(4).repeat(10), 0.05 * torch.randn(20, 8, generator=g, dtype=torch.float64)
    features = (means[labels] + torch.cat([half, -half])).to(dtype)
    report = ulpm.Features.of(features, labels, torch.randn(4, 8, generator=g, dtype=torch.float64)).measure()
    assert report.per_class["length"][3] == 0.0
    assert np.isnan(report.per_class["angle"]).all()
    assert np.isnan(report.per_class["duality"]).tolist() == [False, False, False, True]
    words = ulpm.verdict(report)
    assert words[1].endswith("class means cannot be judged: one of them is the mean of all, and has no direction.")
    assert "NC3 (self-duality) cannot be judged: 0/0." in words


def test_of_classes_with_one_sample_each_no_collapse_is_claimed() -> None:
    sentences = ulpm.verdict(ulpm.Features.of(torch.eye(3), ["a", "b", "c"]).measure())
    assert sentences[0] == "NC1 (variability collapse) says nothing: every class has one sample."
    assert not any("is collapsed" in sentence or "one sample:" in sentence for sentence in sentences)


def test_many_classes_are_measured_and_drawn_without_a_table_of_all_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    data = drawn()
    features = ulpm.Features.of(*(data[key] for key in KEYS))
    few = features.measure()
    assert few.cosines is not None
    torch.testing.assert_close(few.cosines.diagonal(), torch.ones(4, dtype=torch.float64))
    monkeypatch.setattr(report_module, "MOST_SHOWN", 3)
    many = features.measure()
    assert many.cosines is None
    assert many.per_class == few.per_class
    (*_, panel) = ulpm.plotting.plot_features(many).axes
    assert [text.get_text() for text in panel.texts] == ["4 classes are too many to draw"]


def test_no_more_rows_than_fit_a_tile_are_ever_asked_for() -> None:
    """2 GiB of features that are made when they are read."""
    rows, dim, asked = 2**19, 512, []

    def parts(size: int):
        asked.append(size)
        yield np.zeros((size, dim), np.float32)
        raise KeyboardInterrupt

    features = ulpm.Features(
        Column(None, "features", (rows, dim), "float32", parts), torch.arange(rows) % 2, ("a", "b")
    )
    with pytest.raises(KeyboardInterrupt):
        features.measure()
    assert asked == [tiles.LARGEST // dim]


MEASURE = """
import resource, sys, torch, ulpm
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = ulpm.load_features(sys.argv[1], labels=sys.argv[2]).measure()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, report.num_samples)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB there")
def test_a_large_file_is_measured_in_little_memory(tmp_path: Path) -> None:
    rows, dim = 2**22, 64  # 1 GiB, of which the disk holds little: zeros but for a few rows
    made = np.lib.format.open_memmap(tmp_path / "h.npy", "w+", np.float32, (rows, dim))
    made[:64] = np.random.default_rng(0).normal(size=(64, dim))
    del made
    np.save(tmp_path / "y.npy", (np.arange(rows) % 2).astype(np.uint8))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "h.npy"), str(tmp_path / "y.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kilobytes, samples = map(int, done.stdout.split())
    assert samples == rows
    assert kilobytes < 400_000


@pytest.mark.usefixtures("unchecked")
def test_labels_and_predictions_may_be_as_other_libraries_have_them() -> None:
    data = drawn()
    names = np.array(["a", "b", "c", "d"])[data["labels"].numpy()]
    logits = data["features"][:, :4]
    # A column of text in pandas is an array of objects; a network may compute in bfloat16.
    found = ulpm.Features.of(data["features"], names.astype(object), predictions=logits.bfloat16())
    assert found.class_names == ("a", "b", "c", "d")
    assert torch.equal(found.labels, data["labels"])
    assert found.predictions is not None
    assert found.predictions.tolist() == logits.bfloat16().argmax(1).tolist()
    negated = torch._neg_view(-data["features"])  # as the imaginary part of a conjugate is
    plain = ulpm.Features.of(data["features"], data["labels"])
    assert ulpm.Features.of(negated, data["labels"]).measure().metrics == plain.measure().metrics
