"""What a replica costs when many run together."""

import dataclasses
import math
from collections.abc import Sequence

from report import Goal, Section, Tell, count, table
from timing import repeat, seconds_text

import ulpm


@dataclasses.dataclass(frozen=True)
class Setting:
    """A problem, the time to reach, and the numbers of replicas and records tried; 1 replica comes first."""

    K: int
    n: int
    d: int
    log10_time: float
    replicas: Sequence[int]
    records: Sequence[int] = (200, 2)


FULL = Setting(4, 5, 20, 1000.0, (1, 10, 100, 1000))
QUICK = Setting(3, 4, 5, 20.0, (1, 3))


def run(quick: bool, tell: Tell) -> Section:
    """Time the first B of the same random starts, for every B."""
    setting = QUICK if quick else FULL
    problem = ulpm.Problem([setting.n] * setting.K, setting.d)
    starts = problem.random_state(seed=0, replicas=max(setting.replicas))
    rows, goals = [], []
    for records in setting.records:
        alone = math.nan
        for replicas in setting.replicas:
            tell(f"{replicas} replicas, {records} records")
            state = ulpm.State(starts.W[:replicas], starts.H[:replicas])
            timing, path = repeat(
                lambda s=state, r=records: ulpm.gradient_flow(problem, s, log10_time=setting.log10_time, records=r),
                patience=math.inf,  # the goal asks for the best of three, however long they take
            )
            if not path.finished:
                raise RuntimeError(f"{replicas} replicas did not all reach the end.")
            each = timing.best / replicas
            alone = each if replicas == 1 else alone
            evaluations = path.stats["field_evaluations"] + path.stats["jacobian_products"]
            rows.append(
                (
                    records,
                    count(replicas),
                    timing,
                    seconds_text(each),
                    f"{alone / each:.1f}",
                    count(evaluations / replicas),
                    seconds_text(timing.best / evaluations),
                )
            )
        claim = f"time of a replica alone ÷ time of one of {count(replicas)}, {records} records"
        goals.append(Goal.at_least(claim, 20.0, alone / each))
    header = (
        "records",
        "replicas",
        "time of all",
        "a replica, best run",
        "alone ÷ that",
        "evaluations a replica",
        "an evaluation",
    )
    text = TEXT.format(K=setting.K, n=setting.n, d=setting.d, log10_time=setting.log10_time)
    return Section("Replicas", text + table(header, rows), goals)


TEXT = """This section runs K={K} n={n} d={d} from random starts to t = 10^{log10_time:g} at rtol 1e-6, on one thread. B
replicas run together use the first B of the same starts. Times of all are the median (least–greatest) of three runs.
The columns to the right use the best run. An *evaluation* is an evaluation of the field or a product with the Jacobian.
Its column divides the whole time, with recording, by the number of evaluations.

"""
