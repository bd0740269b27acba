"""A monitor measures what it should, at the epochs it should, and no training notices it."""

import itertools
import math
import random

import numpy as np
import pandas
import pytest
import torch
from torch import nn

import ulpm
from ulpm.metrics import METRICS
from ulpm.monitor.schedule import is_due, schedule

K, WIDTH = 3, 6


def network(seed=0):
    torch.manual_seed(seed)
    stem = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*stem, nn.Dropout(0.3), nn.Linear(16, WIDTH), nn.ReLU(), nn.Linear(WIDTH, K))


def data(seed=0, size=30):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(K, (size,), generator=generator)
    x = torch.randn(size, 1, 6, 6, generator=generator) + y[:, None, None, None]
    return torch.utils.data.TensorDataset(x, y)


class Noisy(torch.utils.data.Dataset):
    """Draws from every generator there is, as augmentations do."""

    def __init__(self):
        self.data, self.rng = data(), np.random.default_rng(0)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        noise = torch.randn(()) + random.random() + np.random.standard_normal() + self.rng.standard_normal()  # noqa: NPY002
        return (self.data[i][0] + 0.1 * noise).float(), self.data[i][1]


@pytest.mark.usefixtures("unchecked")  # the checker of signatures draws from Python's generator itself
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("options", [{}, {"batch_norm": "reestimated", "means": "train"}])
def test_a_training_is_the_same_bit_for_bit_with_a_monitor_and_without(options, autocast):
    def train(every_time):
        for seeded in (torch.manual_seed, random.seed, np.random.seed):
            seeded(1)
        model, own = network(), torch.Generator().manual_seed(2)
        loaders = {
            "train": torch.utils.data.DataLoader(Noisy(), batch_size=10, shuffle=True),
            "test": torch.utils.data.DataLoader(data(), batch_size=10, shuffle=True, generator=own),
        }
        monitor = ulpm.Monitor(model, loaders, every=1, layers=nn.ReLU, **options)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        model[5].eval()  # a mixture that model.train() would not restore
        flags = [module.training for module in model.modules()]
        for epoch in range(2):
            for x, y in [*loaders["train"], *loaders["test"]]:
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    loss = nn.functional.cross_entropy(model(x), y)
                    if every_time:
                        monitor.step(epoch)  # between forward and backward, within autocast
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if every_time:
                monitor.step(epoch)
            assert [module.training for module in model.modules()] == flags
            assert torch.is_grad_enabled()
        drawn = [random.random(), float(np.random.standard_normal()), float(torch.rand(()))]  # noqa: NPY002
        return model.state_dict(), drawn, monitor

    (with_monitor, drawn, monitor), (without, expected, _) = train(True), train(False)
    assert with_monitor.keys() == without.keys()
    assert [name for name in without if not torch.equal(with_monitor[name], without[name])] == []
    assert drawn == expected
    assert len(monitor.table) > 0


def test_a_step_within_autocast_does_not_cut_gradients_off():
    model, (x, y) = network(), data()[:]
    monitor = ulpm.Monitor(model, [(x, y)])
    with torch.autocast("cpu", torch.bfloat16):
        monitor.step(0)
        nn.functional.cross_entropy(model(x), y).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_table_holds_what_measure_gives():
    model, (x, y), (a, b) = network(), data()[:], data(1)[:]
    monitor = ulpm.Monitor(model, {"train": [(x, y)], "test": [(a, b)]}, layers=["6", "8"], means="train")
    rows = monitor.step(0)
    assert rows == monitor.table
    for split, batches in {"train": [(x, y)], "test": [(a, b)]}.items():
        for layer, metrics in ulpm.measure(model, batches, layers=["6", "8"]).items():
            found = {row["metric"]: row["value"] for row in rows.select(split=split, layer=layer)}
            assert found == {key: float(value) for key, value in metrics.items()}
    model.eval()
    with ulpm.probe(model) as seen:
        model(x)
    moments = ulpm.ClassMoments(K, WIDTH)
    moments.update(seen.features, y)
    about = ulpm.measure(model, [(a, b)], means=moments.class_means())
    found = {row["metric"]: row["value"] for row in rows.select(split="test about train", layer="8")}
    assert set(found) == {*METRICS, "ncc_accuracy"}
    for key, value in about.items():
        assert math.isclose(found[key], float(value), rel_tol=1e-12), key


def test_reestimated_statistics_are_the_mean_over_the_batches_and_the_model_keeps_its_own():
    model, (x, y) = network(), data()[:]
    with torch.no_grad():
        model(x * 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    found = ulpm.Monitor(model, batches, batch_norm="reestimated").step(0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[1].momentum == 0.1
    maps = [model[0](inputs).detach() for inputs, _ in batches]
    with torch.no_grad():
        model[1].running_mean.copy_(torch.stack([part.mean((0, 2, 3)) for part in maps]).mean(0))
        model[1].running_var.copy_(torch.stack([part.var((0, 2, 3)) for part in maps]).mean(0))
    expected = ulpm.measure(model, batches)
    values = {row["metric"]: row["value"] for row in found}
    assert all(math.isclose(values[key], float(expected[key]), rel_tol=1e-4) for key in METRICS)
    running = ulpm.Monitor(model, batches).step(0)
    assert values["nc1_pinv"] != {row["metric"]: row["value"] for row in running}["nc1_pinv"]


def test_epochs_are_log_spaced_or_every_n_or_listed():
    log = [epoch for epoch in range(2000) if is_due(epoch, schedule("log"))]
    assert log[:11] == list(range(11))
    late = [b / a for a, b in itertools.pairwise(log) if a > 40]
    assert 1.15 < min(late) <= max(late) < 1.23
    assert all(2 * epoch in log for epoch in (64, 128, 512))
    assert [epoch for epoch in range(9) if is_due(epoch, schedule(4))] == [0, 4, 8]
    assert [epoch for epoch in range(9) if is_due(epoch, schedule(range(1, 4)))] == [1, 2, 3]


def test_a_measurement_replaces_that_of_the_same_epoch_and_a_checkpoint_holds_the_table():
    model, (x, y) = network(), data()[:]
    monitor = ulpm.Monitor(model, [(x, y)], every=[1, 3])
    assert len(monitor.step(0)) == 0
    assert [row["epoch"] for row in monitor.measure(0).select(metric="nc0")] == [0]
    for _ in range(2):
        monitor.step(1)
    restored = ulpm.Monitor(model, [(x, y)])
    restored.load_state_dict(monitor.state_dict())
    restored.step(2)
    assert [row["epoch"] for row in restored.table.select(metric="nc0")] == [0, 1, 2]


def test_a_split_that_lacks_a_class_is_named_and_left_out_while_the_others_are_measured():
    model, (x, y) = network(), data()[:]
    loaders = {"train": [(x, y)], "test": [(x[y > 0], y[y > 0])]}
    monitor = ulpm.Monitor(model, loaders, means="train")
    with pytest.warns(UserWarning, match="the split 'test' is left out of this measurement, .* of class 0: give"):
        monitor.step(0)
    assert monitor.table == ulpm.Monitor(model, [(x, y)]).step(0)
    about = ulpm.Monitor(model, loaders, means="test")
    with pytest.warns(UserWarning, match="'test' is left out"):
        assert about.step(0) == monitor.table
    with pytest.raises(ValueError, match="class 0"):
        ulpm.Monitor(model, loaders["test"]).step(0)


def test_a_split_without_batches_is_left_out_and_named_if_it_is_the_first():
    model, (x, y) = network(), data()[:]
    # As a loader has it that drops the last batch of a set smaller than a batch.
    loaders = {"train": [(x, y)], "test": [], "late": [(x, y)]}
    with pytest.warns(UserWarning, match="the split 'test' is left out of this measurement, since its loader gave no"):
        table = ulpm.Monitor(model, loaders, means="train").step(0)
    without = {split: loaders[split] for split in ("train", "late")}
    assert table == ulpm.Monitor(model, without, means="train").step(0)
    with pytest.raises(ValueError, match="loader 'train' must give at least one batch"):
        ulpm.Monitor(model, {"train": [], "test": [(x, y)]}).step(0)


def test_of_several_epochs_a_flat_table_has_the_last_also_if_it_was_measured_first():
    rows = [{"epoch": epoch, "split": "train", "layer": "fc", "metric": "nc0", "value": epoch} for epoch in (5, 3)]
    assert ulpm.monitor.Table(rows).flat() == {"train/fc/nc0": 5}


def test_the_table_goes_into_pandas_xarray_and_csv_alike(tmp_path):
    model, (x, y) = network(), data()[:]
    monitor = ulpm.Monitor(model, {"train": [(x, y)], "test": [(x, y)]}, layers=nn.Linear)
    for epoch in (5, 3):
        monitor.step(epoch)
    frame = pandas.DataFrame(monitor.table)
    assert list(frame.columns) == ["epoch", "split", "layer", "metric", "value"]
    wide = frame.pivot(index=["epoch", "split", "layer"], columns="metric", values="value")
    cube = monitor.table.to_xarray()
    assert cube.epoch.values.tolist() == [3, 5]
    assert math.isnan(float(cube["nc0"].sel(epoch=3, split="test", layer="6")))
    for key in ("nc1_pinv", "ncc_accuracy"):
        assert float(cube[key].sel(epoch=3, split="test", layer="6")) == wide.loc[(3, "test", "6"), key]
    monitor.table.to_csv(tmp_path / "table.csv")
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "table.csv", dtype={"layer": str}), frame)
    assert list(tmp_path.iterdir()) == [tmp_path / "table.csv"]
    assert "<table>" in monitor.table._repr_html_()
    assert "rows before these" in repr(monitor.table)


def test_numbers_go_to_a_writer_and_to_a_function(tmp_path):
    model, (x, y), said = network(), data()[:], []

    class Writer:
        def add_scalar(self, tag, value, step=None):
            said.append((tag, value, step))

    found = ulpm.Monitor(model, [(x, y)], log=Writer()).step(7).flat()
    assert said == [(name, value, 7) for name, value in found.items()]
    ulpm.Monitor(model, [(x, y)], log=said.append).step(7)
    assert said[-1] == {"epoch": 7, **found}
    assert "train/8/nc1_pinv" in found


def test_a_writer_of_tensorboard_has_the_numbers(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    model, (x, y) = network(), data()[:]
    with SummaryWriter(tmp_path) as writer:
        found = ulpm.Monitor(model, [(x, y)], log=writer).step(4).flat()
    events = EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Scalars("train/8/nc1_pinv")
    assert event.step == 4
    assert event.value == pytest.approx(found["train/8/nc1_pinv"])


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_a_wrapped_model_is_measured_as_the_module_itself(wrap):
    model, (x, y) = network(), data()[:]
    expected = ulpm.Monitor(model, [(x, y)], layers=["2", "8"]).step(0)
    assert ulpm.Monitor(wrap(model), [(x, y)], layers=["2", "8"]).step(0) == expected


def test_a_compiled_model_is_not_compiled_again():
    from torch._dynamo.testing import CompileCounter

    model, (x, y), counter = network(), data()[:], CompileCounter()
    compiled = torch.compile(model, backend=counter)
    monitor = ulpm.Monitor(compiled, [(x, y)], layers=nn.ReLU)
    compiled(x)
    frames = counter.frame_count
    for epoch in range(3):
        monitor.step(epoch)
        compiled(x)
    assert counter.frame_count == frames > 0


@pytest.mark.usefixtures("unchecked")
def test_arguments_that_do_not_fit_are_refused_in_one_sentence():
    model, (x, y) = network(), data()[:]
    batches = [(x, y)]
    for arguments, kind, sentence in [
        ({"loaders": iter(batches)}, TypeError, "'train' is an iterator, which can be passed over once"),
        ({"loaders": {}}, ValueError, "at least one loader"),
        ({"loaders": {"train": 3}}, TypeError, "'train' is a int"),
        ({"every": 0}, ValueError, "every must be at least 1"),
        ({"every": []}, ValueError, "every must list at least one epoch"),
        ({"center": "sample"}, ValueError, "center must be 'classes' or 'samples', but 'sample'"),
        ({"layer": "nope"}, ValueError, "'nope'"),
        ({"every": "often"}, ValueError, "every must be 'log', a number"),
        ({"every": torch.zeros(0)}, ValueError, "every must list at least one epoch"),
        ({"layers": ["1", "fc"]}, ValueError, r"names in named_modules\(\), such as .* but \['fc'\] is not"),
        ({"layers": nn.Conv3d}, ValueError, "it has no Conv3d"),
        ({"layers": "fc"}, TypeError, "a list of names"),
        ({"means": "training"}, ValueError, "one of the splits train, but it is 'training'"),
        ({"batch_norm": "none"}, ValueError, "'running' or 'reestimated'"),
        ({"log": 3}, TypeError, "a SummaryWriter or a function"),
    ]:
        with pytest.raises(kind, match=sentence) as error:
            ulpm.Monitor(model, **{"loaders": batches, **arguments})
        assert str(error.value).count(". ") == 0
    with pytest.raises(ValueError, match="epoch must be"):
        ulpm.Monitor(model, batches).step(-1)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        ulpm.Monitor(None, batches)


class Drawing(torch.utils.data.Dataset):
    """Draws from an old generator of numpy, and from that of its process."""

    def __init__(self):
        self.rng = np.random.RandomState(0)

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return torch.rand(4) + self.rng.random_sample(), i % K


class Shifted:
    """A transform with a generator of its own."""

    def __init__(self):
        self.rng = random.Random(0)

    def __call__(self, x):
        return x + self.rng.random()


class Transformed(Drawing):
    def __init__(self):
        super().__init__()
        self.transform = [Shifted()]

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return self.transform[0](x), y


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("workers", [0, 1])
def test_generators_inside_data_sets_and_kept_workers_are_as_without_a_monitor(workers):
    def drawn(measured):
        torch.manual_seed(0)
        nested = torch.utils.data.Subset(torch.utils.data.ConcatDataset([Transformed()]), range(6))
        loader = torch.utils.data.DataLoader(nested, 3, num_workers=workers, persistent_workers=workers > 0)
        monitor = ulpm.Monitor(nn.Sequential(nn.Linear(4, K)).double(), loader, unpack=lambda b: (b[0].double(), b[1]))
        found = []
        for epoch in range(2):
            found += [x for x, _ in loader]
            if measured:
                monitor.measure(epoch)
        return torch.stack(found)

    assert torch.equal(drawn(True), drawn(False))
