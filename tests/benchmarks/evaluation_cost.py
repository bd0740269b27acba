"""The cost of one field evaluation and of one product with the Jacobian over sizes, with a fitted law."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.optimize
from evaluation import BYTES, NAMES, PRODUCTS, Size, measure
from figures import evaluation_cost_figure
from report import Goal, Section, Tell, count, table
from timing import seconds_text

MOST_GIGABYTES = 8.0


def line(**values: Sequence[int]) -> list[Size]:
    """Sizes along one direction from the centre K = 10, N = 10,000, d = 64."""
    (name, steps), centre = next(iter(values.items())), Size(10, 10_000, 64)
    return [dataclasses.replace(centre, **{name: step}) for step in steps]


TARGET = Size(10, 60_000, 512)
FULL = [
    *line(N=(1000, 10_000, 100_000, 1_000_000)),
    *line(K=(3, 30, 100, 300)),
    *line(d=(8, 512, 2048)),
    *(Size(3, 1000, 8), Size(3, 1000, 2048), Size(3, 1_000_000, 8), Size(10, 500, 64)),
    *(Size(100, 2000, 128), Size(300, 1000, 8), Size(300, 1000, 2048), Size(300, 100_000, 8), Size(300, 30_000, 512)),
    TARGET,
]
QUICK_TARGET = Size(10, 1000, 16)
QUICK = [QUICK_TARGET, Size(3, 100, 8), Size(30, 1000, 8), Size(3, 2000, 32), Size(5, 300, 100), Size(4, 500, 4)]


@dataclasses.dataclass(frozen=True)
class Law:
    """t = a + b·K·d·N + c·d·N + e·K·N, with other prices c′ = c + …, e′ = e + … of an element in large problems.

    ``coefficients`` are a, b, c, e, c′ − c, e′ − e; a problem is large if (d + K)·N numbers exceed ``bound_mib``.
    """

    coefficients: tuple[float, ...]
    bound_mib: int
    r_squared: float
    worst_factor: float

    @staticmethod
    def terms(size: Size, bound_mib: int) -> tuple[float, ...]:
        """What the coefficients multiply."""
        H, Z = size.d * size.N, size.K * size.N
        large = bound_mib * 2**20 < BYTES * (H + Z)
        return 1.0, size.multiplications, H, Z, H * large, Z * large

    @classmethod
    def fit(cls, sizes: Sequence[Size], seconds: Sequence[float]) -> "Law":
        """Non-negative least squares on *relative* deviations, since times span decades; R² is that of log t.

        The bound is the power of two with the best R².
        """
        return max((cls._with_bound(sizes, seconds, 2**power) for power in range(1, 8)), key=lambda law: law.r_squared)

    @classmethod
    def plain(cls, sizes: Sequence[Size], seconds: Sequence[float]) -> "Law":
        """The law without other prices in large problems."""
        return cls._with_bound(sizes, seconds, 2**40)

    @classmethod
    def _with_bound(cls, sizes: Sequence[Size], seconds: Sequence[float], bound_mib: int) -> "Law":
        terms, times = np.array([cls.terms(size, bound_mib) for size in sizes]), np.array(seconds)
        rows = terms / times[:, None]
        # Columns differ by many orders: the solver wants them alike.
        scale = np.linalg.norm(rows, axis=0).clip(min=1e-300)
        scaled, _ = scipy.optimize.nnls(rows / scale, np.ones(len(times)))
        coefficients = scaled / scale
        miss = np.log(terms @ coefficients / times)
        spread = np.log(times) - np.log(times).mean()
        r_squared = 1 - float((miss**2).sum() / (spread**2).sum())
        return cls(tuple(coefficients.tolist()), bound_mib, r_squared, float(np.exp(abs(miss).max())))

    def seconds(self, size: Size) -> float:
        """The law's value."""
        return float(np.dot(self.coefficients, self.terms(size, self.bound_mib)))

    def row(self, name: str, products: int) -> tuple[str, ...]:
        """A line of the table; ``products`` matrix products of 2·K·d·N operations each are in one evaluation."""
        a, b, c, e, more_c, more_e = self.coefficients
        return (
            name,
            f"{a * 1e6:.3g} µs",
            f"{b * 1e9:.3g} ns",
            f"{2 * products / b / 1e9:.3g}" if b > 0 else "–",
            *(f"{price * 1e9:.3g} ns" for price in (c, e, c + more_c, e + more_e)),
            f"{self.bound_mib} MiB",
            f"{self.r_squared:.4f}",
            f"{self.worst_factor:.2f}",
        )


FIGURE = "benchmarks-evaluation-cost.png"


def run(quick: bool, tell: Tell) -> Section:
    """Measure every size that fits into memory, and fit the laws."""
    costs, left_out = [], []
    seconds, target = (0.02, QUICK_TARGET) if quick else (0.3, TARGET)
    for size in QUICK if quick else FULL:
        if size.gigabytes > MOST_GIGABYTES:
            left_out.append(size)
            continue
        tell(f"K = {size.K}, N = {count(size.N)}, d = {size.d}")
        costs.append(measure(size, seconds))
    rows = [
        (
            cost.size.K,
            count(cost.size.N),
            cost.size.d,
            cost.rate,
            seconds_text(cost.product.median),
            seconds_text(cost.alone.median),
            f"{cost.rate.median / cost.alone.median:.2f}",
            f"{cost.product.median / cost.rate.median:.2f}",
        )
        for cost in sorted(costs, key=lambda cost: dataclasses.astuple(cost.size))
    ]
    header = (
        "K",
        "N",
        "d",
        NAMES["rate"],
        NAMES["product"],
        "three products alone",
        "field ÷ alone",
        "product ÷ field",
    )
    sizes = [cost.size for cost in costs]
    seconds_of = {kind: [getattr(cost, kind).median for cost in costs] for kind in PRODUCTS}
    laws = {kind: Law.fit(sizes, seconds_of[kind]) for kind in PRODUCTS}
    plain = [Law.plain(sizes, seconds_of[kind]) for kind in PRODUCTS]
    law_header = ("", "a", "b", "GFlop/s of b", "c", "e", "c′", "e′", "large from", "R² of log t", "largest factor off")
    law_table = table(law_header, [laws[kind].row(NAMES[kind], PRODUCTS[kind]) for kind in PRODUCTS])
    text = f"{TEXT.format(seconds=seconds)}{table(header, rows)}\n{left_out_text(left_out)}"
    text += LAW_TEXT.format(
        sizes=len(sizes),
        squares=", ".join(f"{law.r_squared:.4f}" for law in plain),
        factors=", ".join(f"{law.worst_factor:.2f}" for law in plain),
    )
    text += f"{law_table}\n\n![Law and times]({FIGURE})"
    goals = [
        Goal.at_most(
            f"K={target.K} N={count(target.N)} d={target.d}: field over its three matrix products alone",
            1.5,
            cost.rate.median / cost.alone.median,
            "{:.3g}".format,
        )
        for cost in costs
        if cost.size == target
    ]
    figure = evaluation_cost_figure(costs, laws, NAMES)
    return Section("Cost of an evaluation", text, goals, {FIGURE: figure})


def left_out_text(sizes: Sequence[Size]) -> str:
    """Which sizes were too large for the memory that this benchmark allows itself."""
    if not sizes:
        return "\n"
    names = "; ".join(f"K = {size.K}, N = {count(size.N)}, d = {size.d}" for size in sizes)
    return f"\nLeft out, since they would take more than {MOST_GIGABYTES:g} GB: {names}.\n\n"


TEXT = """This section times one evaluation of the field, F = −∇ log L with log L, and one product with its Jacobian. It
uses float64 at a random start, on one thread. For comparison it times the field's three matrix products alone (WH, RHᵀ
and WᵀR into preallocated results). Times are the median of at least five calls, as many as last {seconds:g} s together
(and least–greatest for the field), after one call that does not count.

"""

LAW_TEXT = """We fit the law t = a + b·K·d·N + c·d·N + e·K·N. Here a is the start-up time, and b is the cost of the
arithmetic. A field evaluation has three matrix products of 2·K·d·N operations each, a Jacobian product six. c is the
cost of moving an element of H (d·N elements), and e the cost of moving a logit (K·N logits). With the same c and e for
all sizes, R² is {squares} and the largest error factor {factors} (in the order of the table). So the law has other
costs c′ and e′ in large problems. These are problems in which H and the logits take more memory than the bound in the
table. The reason is probably that the elements come from main memory, and that every call maps temporary arrays of that
size again. The bound is the power of two with the best R². So we fit seven numbers to {sizes} sizes. The table
describes these sizes, and we have not tried it on others. The coefficients are non-negative least squares on relative
deviations. A coefficient of 0 could not be separated from the other terms.

"""
