"""Neural collapse as a metric of torchmetrics."""

import copy
import pickle
import warnings

import pytest
import torch
from same_metrics import assert_same
from torch import nn

import ulpm
from ulpm.metrics.kept import OF_FEATURES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    from ulpm.monitor.torchmetrics import NeuralCollapse

K, WIDTH = 3, 5


def samples(seed=0, size=20):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, WIDTH, generator=generator), torch.arange(size) % K


def expected(h, y, head=None):
    W = torch.randn(K, WIDTH, dtype=torch.float64) if head is None else head.weight.detach().double()
    moments = ulpm.ClassMoments(K, WIDTH)
    moments.update(h.double(), y)
    found = ulpm.neural_collapse_from_moments(moments, W)
    return found if head is not None else {key: found[key] for key in OF_FEATURES if key in found}


def test_update_compute_and_reset_are_those_of_the_moments():
    head, (h, y) = nn.Linear(WIDTH, K), samples()
    metric, bare = NeuralCollapse(K, WIDTH, classifier=head), NeuralCollapse(K, WIDTH)
    for rows in (slice(0, 7), slice(7, None)):
        metric.update(h[rows], y[rows])
        bare.update(h[rows], y[rows])
    assert_same(metric.compute(), expected(h, y, head), rtol=1e-11)
    assert_same(bare.compute(), expected(h, y), rtol=1e-11)
    metric.reset()
    other, labels = samples(1)
    metric.update(other, labels)
    with torch.no_grad():
        head.weight.mul_(torch.arange(1.0, K + 1)[:, None])  # the weight is that of now
    assert_same(metric.compute(), expected(other, labels, head), rtol=1e-11)


def test_forward_gives_the_value_of_the_batch_and_goes_on():
    head, (h, y), (a, b) = nn.Linear(WIDTH, K), samples(), samples(1)
    metric = NeuralCollapse(K, WIDTH, classifier=head)
    metric.update(h, y)
    assert_same(metric(a, b), expected(a, b, head), rtol=1e-11)
    assert_same(metric.compute(), expected(torch.cat([h, a]), torch.cat([y, b]), head), rtol=1e-11)


def test_the_classifier_is_no_part_of_the_metric_and_is_shared_by_its_copies():
    head, (h, y) = nn.Linear(WIDTH, K), samples()
    metric = NeuralCollapse(K, WIDTH, classifier=head)
    assert list(metric.parameters()) == []
    clone = copy.deepcopy(metric)
    with torch.no_grad():
        head.weight.add_(1.0)
    clone.update(h, y)
    assert_same(clone.compute(), expected(h, y, head), rtol=1e-11)
    again = pickle.loads(pickle.dumps(clone))
    assert_same(again.compute(), expected(h, y, head), rtol=1e-11)


def test_it_serves_in_a_collection():
    head, (h, y) = nn.Linear(WIDTH, K), samples()
    collection = torchmetrics.MetricCollection({"nc": NeuralCollapse(K, WIDTH, classifier=head)}, prefix="train/")
    collection.update(h, y)
    assert "train/nc1_pinv" in collection.compute()
