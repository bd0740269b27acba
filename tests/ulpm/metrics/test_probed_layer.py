"""The layer that is measured is the classifier of the network: right numbers, or one sentence that names the layer."""

import copy
import dataclasses
import re
import typing

import pytest
import torch
from metrics_oracle import assert_close, literal
from runtime_checks import without_checks
from torch import nn

import ulpm

K, WIDTH, INPUTS = 4, 6, 5


class Net(nn.Module):
    """A body and a linear head; ``finish`` is what the model returns of features and head."""

    def __init__(self, finish=lambda model, h: model.head(h), **layers):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.Tanh())
        self.head = nn.Linear(WIDTH, K)
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.finish = finish

    def forward(self, x):
        return self.finish(self, self.body(x))


class Adapted(nn.Linear):
    """A linear layer with an adapter of low rank inside, as a fine-tuned network has it: W + B A."""

    def __init__(self):
        super().__init__(WIDTH, K)
        self.lora_A, self.lora_B = nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, K, bias=False)

    def forward(self, x):
        return super().forward(x) + self.lora_B(self.lora_A(x))


class Cosine(nn.Linear):
    def forward(self, x):
        return 8 * nn.functional.linear(nn.functional.normalize(x), nn.functional.normalize(self.weight))


def batches(dtype=torch.float32, size=24):
    torch.manual_seed(2)
    x = torch.randn(size, INPUTS, dtype=dtype)
    return list(zip(x.split(10), (torch.arange(size) % K).split(10), strict=True))


def expected(model, W=None, b=None, dtype=torch.float32):
    """The metrics of a classifier on the features of the body, by the literal formulas."""
    x, y = (torch.cat(part) for part in zip(*batches(dtype), strict=True))
    W, b = (model.head.weight, model.head.bias) if W is None else (W, b)
    with torch.no_grad():
        return literal(W.double(), model.body(x).double().T, y, None if b is None else b.double())


def adapter_beside(model, h):
    return model.head(h) + model.lora_B(model.lora_A(h))


def two_heads(model, h):
    return (model.head(h) + model.head_dist(h)) / 2


REFUSED = {
    "an adapter that runs after the head": (
        Net(adapter_beside, lora_A=nn.Linear(WIDTH, 2, bias=False), lora_B=nn.Linear(2, K, bias=False)),
        "layer 'lora_B', the linear layer that ran last, does not give what the model returns",
    ),
    "two heads averaged": (Net(two_heads, head_dist=nn.Linear(WIDTH, K)), "layer 'head_dist', the linear"),
    "two heads side by side": (
        Net(lambda model, h: (model.head(h), model.second(h)), second=nn.Linear(WIDTH, K)),
        "layer 'second', the linear",
    ),
    "a gate that runs after the head": (
        Net(lambda m, h: (z := m.head(h)) * torch.sigmoid(m.gate(h)) + 0 * z, gate=nn.Linear(WIDTH, 1)),
        "layer 'gate', the linear layer that ran last, does not give what the model returns .*nothing of this shape",
    ),
    "a convolution after the last linear layer": (
        Net(lambda m, h: m.conv(h[:, :, None, None]).flatten(1), conv=nn.Conv2d(WIDTH, K, 1)),
        "layer 'body.0', the linear",
    ),
    "a cosine head": (Net(head=Cosine(WIDTH, K)), "layer 'head' does not return W h \\+ b"),
    "a cosine head without a layer": (
        Net(lambda m, h: nn.functional.linear(nn.functional.normalize(h), nn.functional.normalize(m.head.weight))),
        "layer 'body.0', the linear",
    ),
    "a tied head without a layer": (
        Net(lambda m, h: h @ m.embedding.weight.T, embedding=nn.Embedding(K, WIDTH)),
        "layer 'body.0', the linear",
    ),
    "a head called twice": (
        Net(lambda m, h: (m.head(h) + m.head(h.flip(1))) / 2),
        "layer 'head', the linear layer that ran last, does not give what the model returns in the last of its 2 runs",
    ),
    "a scale for each class": (Net(lambda m, h: m.head(h) * torch.arange(1.0, K + 1)), "layer 'head', the linear"),
    "logits with the wrong sign": (Net(lambda m, h: -m.head(h)), "layer 'head', the linear"),
    "an adapter inside the head": (Net(lambda m, h: m.head(h), head=Adapted()), "layer 'head' does not return W h"),
    "a small adapter": (
        Net(lambda m, h: m.head(h) + 1e-4 * m.second(h.flip(1)), second=nn.Linear(WIDTH, K)),
        "layer 'second', the linear",
    ),
    "two heads of probabilities": (
        Net(
            lambda m, h: (m.head(h).softmax(1) + m.second(h).softmax(1)) / 2,
            second=nn.Linear(WIDTH, K),
        ),
        "layer 'second', the linear",
    ),
    "classes instead of logits": (Net(lambda m, h: m.head(h).argmax(1)), "layer 'head', .*nothing of this shape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_is_not_the_classifier_is_refused_in_one_sentence_that_names_it(name):
    model, sentence = REFUSED[name]
    with pytest.raises(ValueError, match=sentence) as error:
        ulpm.measure(model, batches())
    assert "layer=" in str(error.value)
    assert str(error.value).count(". ") == 0
    with pytest.raises(ValueError, match=sentence), ulpm.probe(model.eval()):
        model(batches()[0][0])


class Output(typing.NamedTuple):
    features: torch.Tensor
    logits: torch.Tensor


@dataclasses.dataclass
class Answer:
    loss: torch.Tensor
    logits: torch.Tensor


class Wrapper(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.inner = model
        self.body, self.head = model.body, model.head

    def forward(self, x):
        return self.inner(x)


def tied():
    model = Net(embedding=nn.Embedding(K, WIDTH))
    model.head.weight = model.embedding.weight
    return model


def zero_adapter_before():
    model = Net(
        lambda m, h: m.lora_B(m.lora_A(h)) + m.head(h), lora_A=nn.Linear(WIDTH, 2), lora_B=nn.Linear(2, K, bias=False)
    )
    nn.init.zeros_(model.lora_B.weight)
    return model


def zero_head():
    model = Net(lambda m, h: m.head(h).log_softmax(1))
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    return model


ACCEPTED = {
    "plain": Net,
    "tied to an embedding": tied,
    "wrapped": lambda: Wrapper(Net()),
    "data parallel": lambda: nn.DataParallel(Wrapper(Net())),
    "a tuple with features first": lambda: Net(lambda m, h: (h, m.head(h))),
    "a named tuple": lambda: Net(lambda m, h: Output(h, m.head(h))),
    "a dictionary": lambda: Net(lambda m, h: {"loss": h.sum(), "logits": m.head(h)}),
    "a dataclass": lambda: Net(lambda m, h: Answer(h.sum(), m.head(h))),
    "a temperature": lambda: Net(lambda m, h: m.head(h) / 0.07),
    "a learnt temperature": lambda: Net(lambda m, h: m.head(h) * m.scale.exp(), scale=nn.Parameter(torch.tensor(2.3))),
    "log-probabilities": lambda: Net(lambda m, h: m.head(h).log_softmax(1)),
    "log-probabilities at a temperature": lambda: Net(lambda m, h: (m.head(h) / 3).log_softmax(1)),
    "probabilities": lambda: Net(lambda m, h: m.head(h).softmax(1)),
    "sharp probabilities": lambda: Net(lambda m, h: (60 * m.head(h)).softmax(1)),
    "logits centred": lambda: Net(lambda m, h: (z := m.head(h)) - z.mean(1, keepdim=True)),
    "an adapter that is still zero": zero_adapter_before,
    "weight norm": lambda: Net(head=nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, K))),
}


def core(model):
    return core(model.module) if isinstance(model, nn.DataParallel) else model


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_the_classifier_is_measured_whatever_surrounds_it(name):
    model = ACCEPTED[name]()
    found = ulpm.measure(model, batches())
    reference = expected(core(model))
    assert_close(found, reference, rtol=2e-4)


def test_a_head_of_zeros_is_the_classifier():
    found = ulpm.measure(zero_head(), batches())
    assert float(found["nc1_pinv"]) == pytest.approx(float(ulpm.measure(Net(), batches())["nc1_pinv"]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
@pytest.mark.parametrize("name", ["plain", "a temperature", "log-probabilities", "tied to an embedding"])
def test_rounding_is_never_taken_for_another_layer(dtype, scale, name):
    model = ACCEPTED[name]()
    with torch.no_grad():
        model.head.weight.mul_(scale)
    model = model.to(dtype)
    found = ulpm.measure(model, batches(dtype, 80))
    assert all(bool(torch.isfinite(value)) for value in found.values())


@pytest.mark.parametrize("width", [16, 3000])
@pytest.mark.parametrize("inside", [False, True])
def test_mixed_precision_is_measured(width, inside):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, K))
    if inside:

        class Mixed(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model

            def forward(self, x):
                with torch.autocast("cpu", torch.bfloat16):
                    return self.inner(x)

        found = ulpm.measure(Mixed(), batches())
    else:
        with torch.autocast("cpu", torch.bfloat16):
            found = ulpm.measure(model, batches())
    plain = ulpm.measure(model, batches())
    assert float(found["nc1_pinv"]) == pytest.approx(float(plain["nc1_pinv"]), rel=0.05)


def test_the_joint_head_is_measured_once_two_heads_are_merged():
    model = Net(two_heads, head_dist=nn.Linear(WIDTH, K))
    W, b = (model.head.weight + model.head_dist.weight) / 2, (model.head.bias + model.head_dist.bias) / 2
    merged = Net()
    merged.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        merged.head.weight.copy_(W)
        merged.head.bias.copy_(b)
    assert_close(ulpm.measure(merged, batches()), expected(model, W, b), rtol=2e-4)


def test_a_layer_that_is_named_is_measured_although_the_model_returns_another():
    model = Net(two_heads, head_dist=nn.Linear(WIDTH, K))
    assert_close(ulpm.measure(model, batches(), layer="head"), expected(model), rtol=2e-4)


@pytest.mark.parametrize(
    ("model", "layer", "sentence"),
    [
        (Net(head=Adapted()), "head", "layer 'head' does not return W h"),
        (Net(head=Cosine(WIDTH, K)), "head", "layer 'head' does not return W h"),
        (
            Net(lambda m, h: m.head(h) + m.head(h.flip(1))),
            "head",
            "the one that was named, .* in the last of its 2 runs",
        ),
        (Net(lambda m, h: m.tokens(h.argmax(1)) @ m.head.weight.T, tokens=nn.Embedding(9, WIDTH)), "tokens", "W h"),
        (
            Net(
                lambda m, h: m.conv(h[:, :, None] * torch.tensor([1.0, -2.0])).amax(2),
                conv=nn.Conv1d(WIDTH, K, 1),
            ),
            "conv",
            "layer 'conv', the one that was named, does not give",
        ),
        (Net(wide=nn.Conv1d(WIDTH, K, 3)), "wide", "has no weight matrix"),
    ],
)
def test_a_named_layer_must_still_compute_what_is_measured(model, layer, sentence):
    with pytest.raises(ValueError, match=sentence), without_checks():
        ulpm.measure(model, batches(), layer=layer)


@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("pool_first", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_one_by_one_convolution_is_a_classifier_of_the_mean_over_positions(positions, pool_first, dtype):
    where = torch.linspace(1, 2, positions, dtype=dtype)

    def finish(model, h):
        maps = h[:, :, None, None] * where
        if pool_first:
            return model.conv(maps.mean((2, 3), keepdim=True)).flatten(1)
        return model.conv(maps).mean((2, 3))

    model = Net(finish, conv=nn.Conv2d(WIDTH, K, 1)).to(dtype)
    found = ulpm.measure(model, batches(dtype), layer="conv")
    reference = expected(model, model.conv.weight[:, :, 0, 0] * where.mean(), model.conv.bias, dtype)
    assert float(found["nc1_pinv"]) == pytest.approx(
        reference["nc1_pinv"], rel=1e-4 if dtype == torch.float32 else 0.05
    )
    assert float(found["nc3_difference"]) == pytest.approx(reference["nc3_difference"], rel=1e-2)


@pytest.mark.parametrize("how", ["whole", "in place", "head alone", "forward"])
def test_a_compiled_model_that_ran_before_is_measured(how):
    model = Net()
    reference = ulpm.measure(copy.deepcopy(model), batches())
    compiled = model
    if how == "whole":
        compiled = torch.compile(model, backend="eager")
    elif how == "in place":
        model.compile(backend="eager")
    elif how == "head alone":
        model.head = torch.compile(model.head, backend="eager")
    else:
        model.forward = torch.compile(model.forward, backend="eager")
    with torch.no_grad():
        compiled(batches()[0][0])
    found = ulpm.measure(compiled, batches())
    assert found == reference
    with ulpm.probe(compiled) as seen:
        compiled(batches()[0][0])
    assert seen.features.shape == (10, WIDTH)
    torch._dynamo.reset()


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_a_name_is_that_in_the_model_as_it_was_given_or_in_the_one_inside(wrap):
    model = wrap(Net(second=nn.Linear(WIDTH, K)))
    (prefix,) = {name.removesuffix("head") for name, _ in model.named_modules() if name.endswith("head")}
    reference = ulpm.measure(model, batches(), layer="head")
    assert ulpm.measure(model, batches(), layer=f"{prefix}head") == reference
    layers = ulpm.measure(model, batches(), layers=["body", "head"])
    assert list(layers) == ["body", "head"]
    assert ulpm.measure(model, batches(), layers=[f"{prefix}body", f"{prefix}head"]) == layers
    monitors = [ulpm.Monitor(model, batches(), layer=f"{p}head", layers=[f"{p}body", f"{p}head"]) for p in ("", prefix)]
    for monitor in monitors:
        monitor.measure(1)
    assert monitors[0].table == monitors[1].table


@pytest.mark.parametrize("layer", [None, "head"])
def test_a_lazy_head_is_measured_in_its_first_pass(layer):
    model, reference = Net(head=nn.LazyLinear(K)), Net()
    found = ulpm.measure(model, batches(), layer=layer)
    reference.load_state_dict(model.state_dict())
    assert found == ulpm.measure(reference, batches())


def test_a_head_that_runs_on_one_sample_at_a_time_is_called_that():
    with pytest.raises(ValueError, match=r"layer 'head' must give logits .*, one row a sample"):
        ulpm.measure(Net(lambda m, h: torch.stack([m.head(row) for row in h])), batches())


def test_samples_without_a_batch_and_models_without_numbers_are_called_that():
    x, y = batches()[0]
    with pytest.raises(ValueError, match=r"one row a sample, but it gave \[4\]: give batches"), without_checks():
        ulpm.measure(Net(), list(zip(x, y, strict=True)))
    with pytest.raises(TypeError, match="model must have numbers, but its parameters are on the device meta"):
        ulpm.measure(Net().to("meta"), batches())
    with (
        pytest.raises(ValueError, match=r"labels must have shape \[10\], one a sample, but it is \[5\]"),
        without_checks(),
    ):
        ulpm.measure(Net(), [(x, y[:5])])


@pytest.mark.parametrize("make", [torch.jit.script, lambda model: torch.jit.trace(model, torch.ones(1, INPUTS))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_with_the_reason(make):
    model = make(nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, K)))
    with pytest.raises(TypeError, match="one of TorchScript runs none"):
        ulpm.measure(model, batches())


def test_the_check_waits_for_numbers_and_a_training_that_diverged_is_called_that():
    model = Net()
    nn.init.constant_(model.head.weight, torch.nan)
    with pytest.raises(ValueError, match=re.escape("W of layer 'head' contains NaN or infinity: the training has div")):
        ulpm.measure(model, batches())
    model = Net()
    nn.init.constant_(model.body[0].weight, torch.inf)
    with pytest.raises(ValueError, match=re.escape("h of layer 'head' contains NaN or infinity: the training has div")):
        ulpm.measure(model, batches())


@pytest.mark.parametrize("layer", [None, "head"])
def test_labels_that_count_from_one_are_called_that(layer):
    shifted = [(x, y + 1) for x, y in batches()]
    with pytest.raises(ValueError, match=r"must lie in 0 … 3, .* but they lie in 1 … 4: subtract 1"):
        ulpm.measure(Net(), shifted, layer=layer)


def test_the_hooks_of_a_refused_model_are_gone_and_its_flags_are_as_before():
    model = REFUSED["two heads averaged"][0].train()
    with pytest.raises(ValueError, match="head_dist"):
        ulpm.measure(model, batches())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert all(module.training for module in model.modules())
