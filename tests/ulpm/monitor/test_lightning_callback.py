"""A monitor in the Trainer of Lightning."""

import warnings

import pytest
import torch
from torch import nn

import ulpm

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Lightning's own imports
    lightning = pytest.importorskip("pytorch_lightning", reason="pytorch-lightning is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning recommends workers, loggers and more


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 3))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def loader():
    y = torch.arange(24) % 3
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(1)) + y[:, None]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True)


def fit(folder, monitored=True, epochs=3, checkpoint=None, **options):
    torch.manual_seed(3)
    model, data = Module(), loader()
    monitor = ulpm.Monitor(model, {"train": data}, every=2, layers=["net.2", "net.4"])
    callbacks = [monitor.lightning_callback()] if monitored else []
    looks = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    checkpoints = lightning.callbacks.ModelCheckpoint(folder, save_last=True) if checkpoint else None
    trainer = lightning.Trainer(
        max_epochs=epochs,
        callbacks=[*callbacks, *([checkpoints] if checkpoints else [])],
        enable_checkpointing=checkpoint is not None,
        **{**looks, **options},
    )
    trainer.fit(model, data, ckpt_path=checkpoint if checkpoint and checkpoint != "new" else None)
    return model, monitor, trainer


@pytest.mark.usefixtures("unchecked")
def test_the_callback_measures_the_start_the_schedule_and_the_last_epoch_and_changes_no_weight(tmp_path):
    model, monitor, trainer = fit(tmp_path)
    assert [row["epoch"] for row in monitor.table.select(layer="net.4", metric="nc1_pinv")] == [0, 2, 3]
    alone, _, _ = fit(tmp_path, monitored=False)
    for name, value in alone.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    last = monitor.table.select(epoch=3).flat()
    assert trainer.callback_metrics["train/net.4/nc1_pinv"] == pytest.approx(last["train/net.4/nc1_pinv"])
    expected = ulpm.measure(model, loader())
    assert last["train/net.4/nc4_mismatch"] == pytest.approx(float(expected["nc4_mismatch"]))


def test_a_logger_has_the_metrics_of_every_measured_epoch(tmp_path):
    logger = lightning.loggers.CSVLogger(tmp_path)
    fit(tmp_path, logger=logger)
    logger.save()
    text = (next(tmp_path.rglob("metrics.csv"))).read_text().splitlines()
    assert "train/net.2/ncc_accuracy" in text[0].split(",")
    assert len(text) == 4


def test_the_table_goes_on_from_a_checkpoint(tmp_path):
    fit(tmp_path, epochs=2, checkpoint="new")
    _, monitor, _ = fit(tmp_path, epochs=4, checkpoint=str(tmp_path / "last.ckpt"))
    assert [row["epoch"] for row in monitor.table.select(layer="net.4", metric="nc1_pinv")] == [0, 2, 4]


def test_features_have_the_precision_of_the_training(tmp_path):
    seen = []
    model, data = Module(), loader()
    model.net[4].register_forward_pre_hook(lambda _, args: seen.append((model.training, args[0].dtype)))
    monitor = ulpm.Monitor(model, {"train": data})
    trainer = lightning.Trainer(
        max_epochs=1, precision="bf16-mixed", callbacks=[monitor.lightning_callback()], accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, logger=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, data)
    assert {dtype for training, dtype in seen if not training} == {torch.bfloat16}
