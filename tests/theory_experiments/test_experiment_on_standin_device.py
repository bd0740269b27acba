"""An experiment gives the same bits on a device as on the CPU."""

import dataclasses

from both_devices import on_both

from theory_experiments.harness.work import Work
from theory_experiments.theorems import suboptimal_kkt_points as experiment
from ulpm.plotting import house_style

SHORT = dataclasses.replace(experiment.QUICK, starts=1, norms=(3.0,), log_time=5.0)


def test_a_quick_experiment_is_that_of_the_cpu() -> None:
    def run(device: str) -> list[object]:
        config = dataclasses.replace(SHORT, device=device)
        data = experiment.simulate(config, Work(lambda text: None))
        assert data.paths[0].final_state.W.device.type == device
        with house_style():
            assert experiment.plot(config, data).axes
        return [data, [claim.to_json() for claim in experiment.check(config, data)]]

    assert on_both(run)
