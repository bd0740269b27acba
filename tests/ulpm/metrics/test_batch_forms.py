"""Whatever form labels, inputs and outputs have, the same samples give the same numbers."""

import numpy as np
import pytest
import torch
from metrics_oracle import assert_close
from runtime_checks import without_checks
from torch import nn

import ulpm
from ulpm.metrics.positions import pooled

K, WIDTH, INPUTS, TOKENS = 3, 6, 5, 4


class Net(nn.Module):
    """A body and a head; ``finish`` is what the model returns."""

    def __init__(self, finish=lambda z: z, head=None):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.Tanh())
        self.head = nn.Linear(WIDTH, K) if head is None else head
        self.finish = finish
        # In float64: what a product rounds to in float32 depends on how many samples are in the batch.
        self.double()

    def forward(self, x, attention_mask=None, scale=1.0):
        return self.finish(self.head(self.body(x * scale)))


def samples(size=20):
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(K, (size,), generator=generator)
    return torch.randn(size, INPUTS, generator=generator, dtype=torch.float64), y


def on_samples(model, x, y):
    """The metrics of the samples themselves."""
    with torch.no_grad():
        h = model.body(x).double()
    return ulpm.neural_collapse(model.head.weight.double(), h.T, y, model.head.bias.double())


X, Y = samples()
PADDED = torch.where(torch.arange(len(Y)) % 5 == 0, -100, Y)
FORMS = {
    "unsorted": (Y, Y),
    "int32": (Y.int(), Y),
    "numpy": (Y.numpy(), Y),
    "a list": (Y.tolist(), Y),
    "one-hot": (nn.functional.one_hot(Y), Y),
    "one-hot in float": (nn.functional.one_hot(Y, K).float(), Y),
    "-100 is no sample": (PADDED, PADDED),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_every_form_are_read(form):
    given, meant = FORMS[form]
    model = Net()
    with without_checks():
        found = ulpm.measure(model, [(X, given)])
    kept = meant >= 0
    assert_close(found, on_samples(model, X[kept], meant[kept]), rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "kind", "sentence"),
    [
        (["cat", "dog"] * 10, TypeError, "labels must be class indices, but they are strings: encode them once"),
        (np.array(["cat", "dog"] * 10), TypeError, "they are strings"),
        (None, TypeError, "but they are NoneType"),
        (Y.double(), TypeError, "y must be a tensor of integers"),
        (nn.functional.one_hot(Y, K) * 0.9 + 0.1 / K, ValueError, "must be one-hot, one 1 in each row"),
        (nn.functional.one_hot(Y, K) * 0, ValueError, "must be one-hot"),
        (torch.stack([Y, Y], 1), ValueError, r"labels must have shape \[20\], one a sample"),
        (torch.full_like(Y, -100), ValueError, "class"),
        (torch.where(Y == 0, -1, Y), ValueError, r"y must lie in 0 … 2, but they lie in -1"),
    ],
)
def test_labels_that_are_no_class_indices_are_refused_in_one_sentence(labels, kind, sentence):
    with without_checks(), pytest.raises(kind, match=sentence) as error:
        ulpm.measure(Net(), [(X, labels)])
    assert str(error.value).count(". ") == 0


BATCHES = {
    "a mapping": ({"x": X, "labels": Y}, None),
    "a mapping with one label": ({"x": X, "label": Y, "scale": 1.0}, None),
    "a mapping beside labels": (({"x": X}, Y), None),
    "several inputs": (((X, None), Y), None),
    "a triple": ((X, Y, "file names"), lambda batch: batch[:2]),
    "an object": ([Y, X], lambda batch: (batch[1], batch[0])),
}


@pytest.mark.parametrize("form", BATCHES)
def test_batches_of_every_form_are_read(form):
    batch, unpack = BATCHES[form]
    with without_checks():
        assert_close(ulpm.measure(Net(), [batch], unpack=unpack), ulpm.measure(Net(), [(X, Y)]), rtol=1e-14)


def test_batches_of_other_forms_are_refused_in_one_sentence():
    with without_checks():
        with pytest.raises(TypeError, match="must have the key 'labels', but its keys are x, y"):
            ulpm.measure(Net(), [{"x": X, "y": Y}])
        with pytest.raises(TypeError, match=r"unpack must return \(inputs, labels\) .* not a Tensor"):
            ulpm.measure(Net(), [(X, Y)], unpack=lambda batch: batch[0])


@pytest.mark.parametrize(
    "finish",
    [
        lambda z: {"logits": z, "loss": z.sum()},
        lambda z: (z, z.sum()),
        lambda z: [{"hidden": z.new_zeros(3, 3)}, z],
        lambda z: z.log_softmax(-1),
    ],
)
def test_outputs_of_every_form_are_read(finish):
    assert_close(ulpm.measure(Net(finish), [(X, Y)]), ulpm.measure(Net(), [(X, Y)]), rtol=1e-14)


def tokens():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(8, TOKENS, INPUTS, generator=generator, dtype=torch.float64)
    y = torch.randint(K, (8, TOKENS), generator=generator)
    y[::2, -1] = -100
    return x, y


def test_each_labelled_position_is_a_sample():
    model, (x, y) = Net(), tokens()
    kept = y >= 0
    expected = on_samples(model, x[kept], y[kept])
    assert_close(ulpm.measure(model, [(x[:3], y[:3]), (x[3:], y[3:])]), expected, rtol=1e-12)
    one_hot = nn.functional.one_hot(y.clamp_min(0), K)
    mask = kept.long()
    masked = [{"x": x, "attention_mask": mask, "labels": one_hot}]
    assert_close(ulpm.measure(model, masked), expected, rtol=1e-12)
    flat = Net(lambda z: z.flatten(0, 1))
    assert_close(ulpm.measure(flat, [(x, y)]), expected, rtol=1e-12)


def test_classes_without_a_token_are_left_out_with_their_rows():
    model, (x, y) = Net(head=nn.Linear(WIDTH, 9)), tokens()
    there = torch.tensor([1, 4, 7])
    with torch.no_grad():
        model.head.bias[[0, 2, 3, 5, 6, 8]] = -1e3  # never predicted
        model.head.bias[there] *= 0.1
    labels = torch.where(y >= 0, there[y.clamp_min(0)], y)
    small = Net()
    small.body = model.body
    with torch.no_grad():
        small.head.weight.copy_(model.head.weight[there])
        small.head.bias.copy_(model.head.bias[there])
    assert_close(ulpm.measure(model, [(x, labels)]), ulpm.measure(small, [(x, y)]), rtol=1e-10)


def test_pixels_of_a_convolutional_head_are_samples_too():
    torch.manual_seed(0)
    head = nn.Conv2d(WIDTH, K, 1)
    model = nn.Sequential(nn.Conv2d(1, WIDTH, 3), nn.Tanh(), head)
    x, y = torch.randn(4, 1, 5, 5), torch.randint(K, (4, 3, 3))
    with torch.no_grad():
        h = model[:2](x).movedim(1, -1).flatten(0, -2)
    W, bias = head.weight.detach().flatten(1).double(), head.bias.detach().double()
    expected = ulpm.neural_collapse(W, h.double().T, y.flatten(), bias)
    assert_close(ulpm.measure(model, [(x, y)], layer="2"), expected, rtol=1e-12)


def test_a_model_that_returns_the_logits_of_one_token_is_measured_there_and_of_a_mean_at_the_mean():
    x, y = tokens()[0], torch.arange(8) % K
    last, mean = Net(lambda z: z[:, -1]), Net(lambda z: z.mean(1))
    assert_close(ulpm.measure(last, [(x, y)]), on_samples(last, x[:, -1], y), rtol=1e-12)
    with torch.no_grad():
        h = mean.body(x).mean(1).double()
    W, bias = mean.head.weight.detach().double(), mean.head.bias.detach().double()
    assert_close(ulpm.measure(mean, [(x, y)]), ulpm.neural_collapse(W, h.T, y, bias), rtol=1e-12)
    with pytest.raises(ValueError, match="neither those of one token nor their mean"):
        ulpm.measure(Net(lambda z: z.amax(1)), [(x, y)])


def test_a_head_tied_to_an_embedding_is_measured():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embedding, self.head = nn.Embedding(K, WIDTH), nn.Linear(WIDTH, K, bias=False)
            self.head.weight = self.embedding.weight
            self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())

        def forward(self, ids):
            return self.head(self.body(self.embedding(ids)))

    model = Tied()
    ids = torch.randint(K, (9, TOKENS), generator=torch.Generator().manual_seed(3))
    labels = ids.roll(1, 0)
    with torch.no_grad():
        h = model.body(model.embedding(ids)).flatten(0, 1).double()
    expected = ulpm.neural_collapse(model.embedding.weight.detach().double(), h.T, labels.flatten())
    assert_close(ulpm.measure(model, [(ids, labels)]), expected, rtol=1e-12)


def test_a_column_of_labels_has_one_a_sample():
    model, (x, y) = Net(), samples()
    assert_close(ulpm.measure(model, [(x, y[:, None])]), ulpm.measure(model, [(x, y)]), rtol=0)
    with pytest.raises(ValueError, match="has none"):
        ulpm.measure(model, [(x, y[:, None] * 0)])


class Causal(Net):
    """What a causal language model of transformers shows of itself."""

    loss_type = None
    get_output_embeddings = None

    def __init__(self):
        super().__init__()
        self.get_output_embeddings = lambda: self.head


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_tokens_that_the_mask_leaves_out_are_not_predicted(dtype):
    model, (x, _) = Causal(), tokens()
    y = torch.randint(K - 1, (8, TOKENS), generator=torch.Generator().manual_seed(5)).to(dtype)
    mask = torch.ones(8, TOKENS)
    mask[1::2, -1] = 0
    y[1::2, -1] = K - 1  # the token of padding
    kept = torch.cat([y[::2, 1:].flatten(), y[1::2, 1:-1].flatten()])
    inputs = torch.cat([x[::2, :-1].flatten(0, 1), x[1::2, :-2].flatten(0, 1)])
    expected = ulpm.measure(Net(), [(inputs, kept.long())], absent="leave out")
    found = ulpm.measure(model, [{"x": x, "attention_mask": mask, "labels": y}])
    assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_a_mean_over_many_tokens_fits_half_formats_and_does_not_see_what_is_masked():
    mask = torch.ones(1, 700)
    mask[0, 600:] = 0
    values = torch.full((1, 700, 2), 200.0)
    values[0, 600:] = torch.nan
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert pooled(values.to(dtype), False, mask).tolist() == [[200.0, 200.0]]
        assert pooled(values.to(dtype), False, mask).dtype == dtype
