"""Nothing that a training run left can be changed or lost without a sentence that names the file."""

import random
import shutil
from pathlib import Path

import pytest
from hand_made_run import EPOCHS, FIRST, made_run, rows

from real_experiments.comparison.network_run import NetworkRun
from real_experiments.recipe import Recipe
from real_experiments.table import rows_from_csv, rows_to_csv, same_rows
from real_experiments.training_checkpoint import Checkpoint
from real_experiments.training_directory import TrainingDirectory


@pytest.fixture
def directory(tmp_path: Path) -> TrainingDirectory:
    return made_run(tmp_path / "r")


def test_a_run_that_is_whole_is_read(directory: TrainingDirectory) -> None:
    run = NetworkRun.read(directory.path)
    assert same_rows(run.rows, rows())
    assert run.recipe.epochs == EPOCHS
    assert run.epoch_without_error() == FIRST


def damaged_tables(text: str) -> dict[str, str | None]:
    lines = text.splitlines(keepends=True)
    return {
        "a flipped digit": text.replace("0.5", "0.6", 1),
        "a flipped digit of an epoch": text.replace("\n19,", "\n18.5,", 1),
        "a cut at a line's end": "".join(lines[:-1]),
        "a lost line": "".join(lines[:4] + lines[5:]),
        "two lines that changed places": "".join([*lines[:3], lines[4], lines[3], *lines[5:]]),
        "a cut in a line": text[:-4],
        "a renamed column": text.replace("nc0", "nc1", 1),
        "a column twice": text.replace("nc0", "train_error", 1),
        "no lines": lines[0],
        "nothing": "",
        "no file": None,
    }


@pytest.mark.parametrize("kind", damaged_tables("epoch\n" * 9))
def test_a_damaged_table_is_refused_by_readers_and_made_again_from_the_checkpoint(
    directory: TrainingDirectory, kind: str
) -> None:
    whole = directory.metrics.read_text()
    damaged = damaged_tables(whole)[kind]
    assert damaged != whole
    directory.metrics.unlink() if damaged is None else directory.metrics.write_text(damaged)
    with pytest.raises(OSError, match=r"metrics\.csv is damaged") as refused:
        NetworkRun.read(directory.path)
    assert str(refused.value).count("\n") == 0
    checkpoint = Checkpoint.read(directory.checkpoint)
    assert not directory.agrees_with(checkpoint.rows)
    directory.rewind(EPOCHS, checkpoint.rows)
    assert directory.metrics.read_text() == whole


def test_random_mutations_of_the_table_are_refused_or_change_no_number(directory: TrainingDirectory) -> None:
    generator = random.Random(0)
    whole = directory.metrics.read_bytes()
    kept = Checkpoint.read(directory.checkpoint).rows
    refused = 0
    for _ in range(300):
        mutated = bytearray(whole)
        kind, place = generator.randrange(4), generator.randrange(len(whole))
        if kind == 0:
            mutated[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del mutated[place : place + generator.randrange(1, 40)]
        elif kind == 2:
            mutated[place:place] = bytes(generator.randrange(256) for _ in range(3))
        else:
            mutated = mutated[:place]
        directory.metrics.write_bytes(mutated)
        if directory.agrees_with(kept):
            assert same_rows(directory.read_rows(), kept)
        else:
            refused += 1
    assert refused > 250


def test_a_lost_snapshot_is_named(directory: TrainingDirectory) -> None:
    for epoch in (FIRST, EPOCHS, 16):
        file = directory.snapshot_files()[epoch]
        contents = file.read_bytes()
        file.unlink()
        with pytest.raises(OSError, match=f"snapshots lacks the snapshot of epoch {epoch}"):
            NetworkRun.read(directory.path)
        file.write_bytes(contents)


def test_a_snapshot_under_the_name_of_another_epoch_is_refused(directory: TrainingDirectory) -> None:
    files = directory.snapshot_files()
    shutil.copy(files[16], files[FIRST])
    with pytest.raises(OSError, match=r"epoch_000007\.safetensors holds a snapshot of epoch 16"):
        directory.read_snapshot(FIRST)


def test_files_that_are_no_snapshots_are_left_alone(directory: TrainingDirectory) -> None:
    epochs = list(directory.snapshot_files())
    for name in ("epoch_old.safetensors", "epoch_7.safetensors", "epoch_.safetensors"):
        (directory.snapshots / name).write_text("mine")
    assert list(directory.snapshot_files()) == epochs


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "\0",
        '{"arguments": 3}',
        '{"arguments": {"width": "4"}}',
        '{"arguments": {"model": "resnet50"}}',
        '{"arguments": {"data": 5}}',
        '{"arguments": {"momentum": true}}',
        '{"arguments": {"epochs": 1e999}}',
    ],
)
def test_a_damaged_configuration_is_refused_with_its_name(directory: TrainingDirectory, text: str) -> None:
    directory.config.write_text(text)
    with pytest.raises(OSError, match=r"config\.json is damaged"):
        NetworkRun.read(directory.path)


def test_a_configuration_that_says_something_else_than_the_checkpoint_is_refused(directory: TrainingDirectory) -> None:
    directory.config.write_text(directory.config.read_text().replace('"seed": 0', '"seed": 8'))
    with pytest.raises(OSError, match="is the checkpoint of another run, with --seed 0"):
        NetworkRun.read(directory.path)


def test_a_table_comes_back_as_it_was_written() -> None:
    text = rows_to_csv(rows())
    assert same_rows(rows_from_csv(text, Path("metrics.csv")), rows())
    assert rows_to_csv(rows_from_csv(text, Path("metrics.csv"))) == text


def test_a_recipe_comes_back_from_its_plain_values() -> None:
    recipe = Recipe(dataset="mnist", data=Path("/x"), subset=20, weight_decay=1e-3, decoupled_decay=True, epochs=3)
    assert Recipe.from_json(recipe.to_json()) == recipe
