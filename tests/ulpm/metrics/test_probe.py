import numpy as np
import pytest
import torch
from metrics_oracle import assert_close, literal
from runtime_checks import without_checks
from torch import nn

from ulpm.metrics import METRICS, measure, probe


class SmallNet(nn.Module):
    """Convolution, batch norm and two linear layers, registered in the reverse order of their execution."""

    def __init__(self, bias):
        super().__init__()
        self.head = nn.Linear(6, 3, bias=bias)
        self.middle = nn.Linear(8, 6)
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))

    def features(self, x):
        return torch.relu(self.middle(self.stem(x).mean((2, 3))))

    def forward(self, x):
        return self.head(self.features(x))


def network(bias=True, seed=0):
    torch.manual_seed(seed)
    model = SmallNet(bias)
    with torch.no_grad():
        model(torch.randn(64, 1, 6, 6))  # running statistics unlike their start
        model.head.weight.mul_(10.0)
    return model


def data(seed=0, size=40, batch=16):
    torch.manual_seed(seed)
    x, y = torch.randn(size, 1, 6, 6), torch.randint(3, (size,))
    return x, y, list(zip(x.split(batch), y.split(batch), strict=True))


def hook_count(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("bias", [True, False])
def test_the_probe_reads_the_linear_layer_that_runs_last(bias):
    model, (x, _, _) = network(bias).eval(), data()
    with probe(model) as seen:
        logits = model(x)
    assert torch.equal(seen.features, model.features(x))
    assert torch.equal(seen.logits, logits)
    assert torch.equal(seen.classifier, model.head.weight)
    assert (seen.bias is None) if not bias else torch.equal(seen.bias, model.head.bias)
    assert not any(t.requires_grad for t in (seen.features, seen.logits, seen.classifier))


@pytest.mark.parametrize("by_name", [True, False])
def test_the_probe_reads_the_layer_it_is_told(by_name):
    model, (x, _, _) = network().eval(), data()
    with probe(model, layer="middle" if by_name else model.middle) as seen:
        model(x)
    assert torch.equal(seen.features, model.stem(x).mean((2, 3)))
    assert torch.equal(seen.classifier, model.middle.weight)


def test_the_probe_keeps_what_the_layer_saw_though_the_model_changes_it_in_place():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            h = x * 1.0
            z = self.head(input=h)
            h.zero_()
            return z.div_(100.0)

    model, x = InPlace(), torch.randn(5, 4)
    with probe(model) as seen, torch.no_grad():
        model(x)
    assert torch.equal(seen.features, x)
    torch.testing.assert_close(seen.logits, model.head(x).detach())


def test_the_hooks_are_gone_after_the_block_and_after_an_exception():
    model, (x, y, _) = network(), data()
    with probe(model):
        assert hook_count(model) > 0
    assert hook_count(model) == 0

    def interrupted():
        with probe(model):
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert hook_count(model) == 0
    with pytest.raises(ValueError, match="labels go up to 5"):
        measure(model, [(x, y + 3)])
    assert hook_count(model) == 0


@pytest.mark.parametrize("center", ["classes", "samples"])
@pytest.mark.parametrize("bias", [True, False])
def test_measure_equals_the_literal_formulas_on_the_network_s_features(bias, center):
    model, (x, y, batches) = network(bias), data()
    metrics = measure(model, batches, center=center)
    model.eval()
    with torch.no_grad():
        H, W, b = model.features(x).T, model.head.weight, model.head.bias
        agreement = literal(W, H, y, b, center)
    assert tuple(metrics) == METRICS
    assert all(value.dtype == torch.float64 and value.shape == () for value in metrics.values())
    # In another batch the features differ by float32 rounding.
    assert_close(metrics, agreement, rtol=1e-4)
    assert 0.0 < float(metrics["nc4_mismatch"]) < 1.0


def test_the_bias_decides_the_mismatch():
    model, (_, y, batches) = network(), data()
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([1e4, 0.0, 0.0]))  # always class 0
    metrics = measure(model, batches)
    model.eval()
    H = torch.cat([model.features(x).detach() for x, _ in batches]).double()
    means = torch.stack([H[y == k].mean(0) for k in range(3)])
    assert float(metrics["nc4_mismatch"]) == float((torch.cdist(H, means).argmin(1) != 0).double().mean())


def test_a_one_shot_generator_and_other_chunks_give_the_same():
    model, (x, y, batches) = network().double(), data()
    reference = measure(model, [(a.double(), b) for a, b in batches])
    chunks = ((a.double(), b) for a, b in zip(x.split([1, 30, 9]), y.split([1, 30, 9]), strict=True))
    assert_close(measure(model, chunks), reference, rtol=1e-11)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x.double(), y), batch_size=7, shuffle=True)
    assert_close(measure(model, loader), reference, rtol=1e-11)


def test_measuring_leaves_training_flags_batch_norm_and_gradients_alone():
    model, (_, _, batches) = network().train(), data()
    model.stem[3].eval()  # a mixture that model.train() would not restore
    flags = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, batches)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())

    def broken():
        yield batches[0]
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        measure(model, broken())
    assert [module.training for module in model.modules()] == flags


def test_bfloat16_networks_are_measured_from_the_numbers_they_give():
    model, (x, y, _) = network().bfloat16().eval(), data()
    with probe(model) as seen, torch.no_grad():
        model(x.bfloat16())
    metrics = measure(model, [(x.bfloat16(), y)])
    reference = literal(seen.classifier.float(), seen.features.float().T, y)
    reference["nc4_mismatch"] = metrics["nc4_mismatch"]  # logits are rounded to bfloat16 in the network
    assert_close(metrics, reference, rtol=1e-10)


def test_a_network_that_separates_the_classes_perfectly_has_collapsed():
    # Identity features on one-hot inputs, classifier I − 11ᵀ/K.
    K = 4
    model = nn.Sequential(nn.Flatten(), nn.Linear(K, K, bias=False)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(K) - 1 / K)
    metrics = measure(model, [(torch.eye(K, dtype=torch.float64), torch.arange(K))] * 3)
    assert max(metrics.values()) < 1e-15


def test_wrong_models_layers_and_batches_are_refused_in_one_sentence():
    model, (x, y, batches) = network(), data()
    with pytest.raises(ValueError, match=r"the model has no torch\.nn\.Linear"), probe(nn.Conv2d(1, 1, 1)):
        pass
    with pytest.raises(ValueError, match="layer 'neck' is not a submodule"), probe(model, layer="neck"):
        pass
    with pytest.raises(ValueError, match="is not a submodule"), probe(model, layer=nn.Linear(6, 3)):
        pass
    with pytest.raises(ValueError, match="layer 'stem' has no weight matrix"), probe(model, layer="stem"):
        pass
    with probe(model) as seen, pytest.raises(ValueError, match="has not run yet"):
        seen.features  # noqa: B018
    with pytest.raises(ValueError, match="at least one"):
        measure(model, [])
    with pytest.raises(ValueError, match=r"class \d has none"):
        measure(model, [(x[y != 1], y[y != 1])])
    with pytest.raises(ValueError, match="h must be finite"):
        measure(model, [(x * np.inf, y)])
    with without_checks():
        with pytest.raises(TypeError, match="y must be a tensor of integers"):
            measure(model, [(x, y.double())])
        with pytest.raises(TypeError, match=r"batches must hold pairs .* but one is a Tensor"):
            measure(model, [x])
        with pytest.raises(TypeError, match=r"batches must hold pairs .* but one is a tuple of 3"):
            measure(model, [(x, y, y)])
        with pytest.raises(TypeError, match=r"of tensors, but one is a tuple of 2 \(ndarray, Tensor\)"):
            measure(model, [(x.numpy(), y)])
        with pytest.raises(TypeError, match=r"must have the key 'labels', but its keys are 0, 1"):
            measure(model, [{0: x, 1: y}])
        with pytest.raises(TypeError, match="batches must be a DataLoader or a list of batches, but a NoneType"):
            measure(model, None)
        with pytest.raises(TypeError, match="unpack must be a function batch"):
            measure(model, batches, unpack=3)
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
            measure(lambda x: x, batches)
    sequence = nn.Linear(4, 3)
    with pytest.raises(ValueError, match=r"logits must have shape \[B, K\]"):
        measure(nn.Sequential(sequence, nn.Flatten()), [(torch.zeros(2, 5, 4), torch.zeros(2, dtype=torch.int64))])
    with pytest.raises(ValueError, match=r"samples of at least two classes, but 1 of 3 classes has any"):
        measure(sequence, [(torch.zeros(2, 5, 4), torch.zeros(2, 5, dtype=torch.int64))])

    with pytest.raises(ValueError, match=r"only 2 outputs: name the classifier with layer="):
        measure(nn.Sequential(model, nn.Linear(3, 2)), batches)


class Reader(nn.Module):
    """A transformer encoder that classifies sequences by the mean of its outputs."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(d_model=12, nhead=3, dim_feedforward=20, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_transformer_encoder_is_measured_as_by_direct_computation(dtype):
    torch.manual_seed(3)
    model = Reader().to(dtype)
    x, y = torch.randn(50, 7, 12, dtype=dtype), torch.arange(50) % 4
    model.eval()
    with torch.no_grad(), without_checks():
        features = model.encoder(x).mean(1)
        logits = features.double() @ model.head.weight.double().T + model.head.bias.double()
    found = measure(model, list(zip(x.split(8), y.split(8), strict=True)))
    expected = literal(
        model.head.weight.detach().double().numpy(),
        features.double().numpy().T,
        y.numpy(),
        model.head.bias.detach().double().numpy(),
    )
    assert set(found) == set(METRICS)
    assert_close(found, expected, 1e-9 if dtype == torch.float64 else 1e-4)
    nearest = torch.cdist(features.double(), torch.stack([features[y == k].double().mean(0) for k in range(4)])).argmin(
        1
    )
    assert float(found["nc4_mismatch"]) == pytest.approx(float((nearest != logits.argmax(1)).double().mean()))
