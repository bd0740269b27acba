"""Training of the paper's network by the paper's recipe: images a second."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from gpu_part import Part, Row
from report import Tell, count
from timing import seconds_text, when_done

WIDTH, EPOCHS = 64, 10
FULL: Mapping[str, Any] = {"width": WIDTH}
SMALL: Mapping[str, Any] = {"width": 4, "subset": 20, "batch_size": 10}
SMALL_EPOCHS = 1
PRECISIONS: Mapping[str, Mapping[str, bool]] = {
    "float32": {},
    "float32, TF32 convolutions": {"tf32": True},
    "bfloat16 autocast": {"bf16": True},
}


def measure(device: torch.device, tell: Tell) -> Iterator[Row]:
    """An epoch that does not count, some that do, and a measurement, in each precision."""
    # Here, since they need packages that a machine may lack; the other parts do not.
    from real_experiments.recipe import Recipe
    from real_experiments.trainer import Trainer, repeatable_convolutions
    from ulpm.support import Shard

    small = device.type == "cpu"
    epochs = SMALL_EPOCHS if small else EPOCHS
    for name, options in PRECISIONS.items():
        tell(name)
        recipe = Recipe(model="resnet18", dataset="fashion-mnist-sample", **(SMALL if small else FULL), **options)
        dataset = recipe.load_data(device)
        trainer = Trainer(recipe, dataset, Shard(device=device))

        def train(epochs: int, trainer: Trainer = trainer) -> float:
            def work() -> None:
                for _ in range(epochs * trainer.steps_per_epoch):
                    trainer.step()

            begin = time.perf_counter()
            when_done(work, device)()
            return time.perf_counter() - begin

        with repeatable_convolutions(recipe.tf32):
            train(1)
            seconds = train(epochs)
            loss, _ = trainer.running_loss_and_error()
            begin = time.perf_counter()
            trainer.measure()
            measured = time.perf_counter() - begin
        images = epochs * len(dataset.images)
        yield name, count(images / seconds), seconds_text(seconds / epochs), f"{loss:.4f}", seconds_text(measured)


PART = Part(
    f"Training: ResNet18 of width {WIDTH}",
    f"""The trainer of `real_experiments` on the 1,000 embedded images of 28 × 28 pixels, in batches of 128, by the
paper's recipe: one epoch that does not count, and {EPOCHS} that do. The loss is the mean over the last epoch. A
*measurement* is a row of metrics.csv, with running and with re-estimated batch-norm statistics.""",
    ("precision", "images a second", "an epoch", "training loss", "a measurement"),
    60,
    measure,
)
