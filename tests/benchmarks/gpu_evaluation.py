"""An evaluation of the field against what the device can do at most, measured in the same run."""

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from evaluation import NAMES, PRODUCTS, Size
from evaluation import measure as measure_cost
from gpu_part import Part, Row
from report import Goal, Tell, count
from timing import Timing, repeat_for, seconds_text, when_done


@dataclasses.dataclass(frozen=True)
class Setting:
    """How many numbers are copied, the size of the square matrices, the problems, and the seconds of each timing."""

    copied: int
    matrix: int
    sizes: Sequence[Size]
    seconds: float


TARGET = Size(10, 60_000, 512)
FULL = Setting(2**28, 8192, (TARGET, Size(10, 500, 64), Size(100, 100_000, 512), Size(1000, 64_000, 2048)), 0.5)
SMALL = Setting(2**20, 128, (Size(10, 500, 64),), 0.01)
PRECISIONS = (torch.float64, torch.float32)


@dataclasses.dataclass(frozen=True)
class Floors:
    """What the device does in one precision: bytes a second of a copy, read and written, and operations a second."""

    bandwidth: float
    throughput: float

    def seconds(self, size: Size, products: int, item: int) -> float:
        """The least time of so many matrix products of a size: for their arithmetic, or to read and write once."""
        moved = products * (size.d + size.K) * size.N * item
        return max(moved / self.bandwidth, products * 2 * size.multiplications / self.throughput)


def measure(device: torch.device, tell: Tell) -> Iterator[Row | Goal]:
    """Floors of both precisions first, then every size."""
    setting = SMALL if device.type == "cpu" else FULL
    for dtype in PRECISIONS:
        name = str(dtype).removeprefix("torch.")
        tell(f"copies and matrix products in {name}")
        copy, product = floor_times(setting, device, dtype)
        moved, operations = 2 * setting.copied * dtype.itemsize, 2 * setting.matrix**3
        floors = Floors(moved / copy.median, operations / product.median)
        yield f"copy of {count(setting.copied)} numbers", name, copy, f"{floors.bandwidth / 1e9:,.0f} GB/s", "", ""
        what = f"product of matrices of {setting.matrix}²"
        yield what, name, product, f"{floors.throughput / 1e12:.3g} TFLOP/s", "", ""
        for size in setting.sizes:
            tell(f"K={size.K} N={count(size.N)} d={size.d} in {name}")
            cost = measure_cost(size, setting.seconds, device, dtype)
            sizes = f"K={size.K} N={count(size.N)} d={size.d}"
            for kind, words in NAMES.items():
                taken: Timing = getattr(cost, kind)
                floor = floors.seconds(size, PRODUCTS[kind], dtype.itemsize)
                rate = PRODUCTS[kind] * 2 * size.multiplications / taken.median / 1e12
                ratio = f"{taken.median / floor:.2f}"
                yield f"{words}, {sizes}", name, taken, f"{rate:.3g} TFLOP/s", seconds_text(floor), ratio
            if size == TARGET:
                claim = f"{sizes} in {name}: field over its three matrix products alone"
                yield Goal.at_most(claim, 1.5, cost.rate.median / cost.alone.median, "{:.3g}".format)


def floor_times(setting: Setting, device: torch.device, dtype: torch.dtype) -> tuple[Timing, Timing]:
    """Times of a copy of a large vector and of a product of square matrices."""
    source = torch.ones(setting.copied, dtype=dtype, device=device)
    target = torch.empty_like(source)
    copy = repeat_for(when_done(lambda: target.copy_(source), device), setting.seconds)
    # Random, since a processor that multiplies zeros or ones draws less power and may run faster.
    A, B = torch.randn(2, setting.matrix, setting.matrix, dtype=dtype, device=device).unbind()
    C = torch.empty_like(A)
    return copy, repeat_for(when_done(lambda: torch.matmul(A, B, out=C), device), setting.seconds)


PART = Part(
    "An evaluation of the field and its floors",
    """The first two rows of a precision are what the device does at most: it copies a large vector (bytes read and
written), and multiplies two large matrices. The *floor* of a row is the longer of two times: that of its arithmetic at
this rate, and that of moving what its matrix products read and write once at this bandwidth. A field evaluation has
three products of 2·K·d·N operations each, a Jacobian product six. float32 is float32, without TF32.""",
    ("what", "precision", "time", "rate", "floor", "time ÷ floor"),
    60,
    measure,
)
