"""A monitor in the Trainer of transformers, and its language models; everything offline."""

import os
import warnings

import pytest
import torch
from same_metrics import assert_same

import ulpm
from ulpm.metrics import measure

os.environ.setdefault("HF_HUB_OFFLINE", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")
VOCABULARY = 11


def causal_model():
    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 8, "vocab_size": VOCABULARY}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def texts(size=12, length=6):
    ids = torch.randint(VOCABULARY, (size, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[::3, -2:] = 0
    return [
        {"input_ids": i, "attention_mask": m, "labels": torch.where(m > 0, i, -100)}
        for i, m in zip(ids, mask, strict=True)
    ]


def classifier():
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 8}
    config = transformers.BertConfig(**sizes, vocab_size=VOCABULARY, max_position_embeddings=8, num_labels=3)
    return transformers.BertForSequenceClassification(config)


def classified(size=18):
    rows = texts(size)
    return [{**row, "labels": torch.tensor(i % 3)} for i, row in enumerate(rows)]


def fit(folder, model, data, monitor=None, epochs=3, max_steps=-1):
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), num_train_epochs=epochs, max_steps=max_steps, per_device_train_batch_size=6,
        report_to=[], seed=0,
        save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    callbacks = [] if monitor is None else [monitor.transformers_callback()]
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=callbacks)
    trainer.train()
    return trainer


@pytest.mark.usefixtures("unchecked")
def test_the_callback_measures_the_start_the_schedule_and_the_last_epoch_and_changes_no_weight(tmp_path):
    model, data = classifier(), classified()
    loader = torch.utils.data.DataLoader(data, batch_size=6, shuffle=True)
    monitor = ulpm.Monitor(model, {"train": loader}, every=2, layers=["bert.encoder.layer.0", "classifier"])
    trainer = fit(tmp_path, model, data, monitor)
    rows = monitor.table.select(layer="classifier", metric="nc1_pinv")
    assert [row["epoch"] for row in rows] == [0, 2, 3]
    logged = {entry["epoch"]: entry for entry in trainer.state.log_history if "train/classifier/nc1_pinv" in entry}
    assert [logged[row["epoch"]]["train/classifier/nc1_pinv"] for row in rows] == [row["value"] for row in rows]
    alone = classifier()
    fit(tmp_path, alone, data)
    for name, value in alone.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize(("max_steps", "epochs"), [(1, [0, 1]), (4, [0, 1, 2])])
@pytest.mark.usefixtures("unchecked")
def test_training_that_stops_within_an_epoch_replaces_no_earlier_row(tmp_path, max_steps, epochs):
    model, data = classifier(), classified()  # three steps an epoch
    monitor = ulpm.Monitor(model, [torch.utils.data.default_collate(data)], every=1)
    fit(tmp_path, model, data, monitor, max_steps=max_steps)
    assert [row["epoch"] for row in monitor.table.select(metric="nc0")] == epochs


def test_labels_of_a_causal_language_model_are_the_next_tokens():
    model, rows = causal_model(), texts()
    batch = torch.utils.data.default_collate(rows)
    found = measure(model, [batch])
    model.eval()
    with torch.no_grad():
        h = model.transformer(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    following, here = batch["labels"][:, 1:], h[:, :-1]
    kept = following >= 0
    present, labels = following[kept].unique(return_inverse=True)
    W = model.lm_head.weight.detach().double()[present]
    expected = ulpm.neural_collapse(W, here[kept].double().T, labels)
    del found["nc4_mismatch"], expected["nc4_mismatch"]  # a token that is not there may be predicted
    assert_same(found, expected, rtol=1e-5)


def test_a_model_that_classifies_by_its_last_token_is_measured_there():
    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 8, "vocab_size": VOCABULARY, "num_labels": 3}
    model = transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**sizes, pad_token_id=0)).eval()
    rows = classified()
    for row in rows:
        row["input_ids"] = torch.where(row["attention_mask"] > 0, row["input_ids"].clamp_min(1), 0)
    batch = torch.utils.data.default_collate(rows)
    found = measure(model, [batch])
    with torch.no_grad():
        hidden = model.transformer(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    last = batch["attention_mask"].sum(1) - 1
    h = hidden.last_hidden_state[torch.arange(len(last)), last].double()
    expected = ulpm.neural_collapse(model.score.weight.detach().double(), h.T, batch["labels"])
    assert_same(found, expected, rtol=1e-5)
