"""The partitions and the starts of flows, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config", "Partition"]

Partition = tuple[tuple[int, int], ...]  # the blocks: (classes in the block, samples of each)


@dataclasses.dataclass(frozen=True)
class Config:
    """``partitions`` are tested as KKT points. Flows start at the points of ``equal`` (K, b, n), rotated at random."""

    seed: int
    starts: int
    partitions: tuple[Partition, ...]
    equal: tuple[tuple[int, int, int], ...]
    norms: tuple[float, ...]
    log_time: float
    rescaled: bool = True
    perturbation: float = 0.0
    device: str = "cpu"


FULL = Config(
    seed=0,
    starts=32,
    partitions=(
        *(((b, n),) * m for m, b in ((2, 2), (3, 2), (2, 3), (5, 2), (3, 3), (2, 5), (4, 5)) for n in (1, 5, 50)),
        ((2, 4), (2, 1)),
        ((3, 1), (3, 10), (3, 100)),
        ((2, 1), (3, 1)),
        ((2, 7), (3, 1), (5, 2)),
    ),
    equal=((4, 2, 1), (6, 3, 2), (9, 3, 1)),
    norms=(1.0, 3.0, 10.0, 30.0, 100.0),
    log_time=1e6,
)
QUICK = dataclasses.replace(
    FULL, starts=2, partitions=(((2, 3),) * 2, ((2, 7), (3, 1), (5, 2))), equal=((4, 2, 1),), log_time=1e4
)
NEGATIVE_CONTROLS = {
    "a block point is perturbed by 1e-3 of its norm": dataclasses.replace(QUICK, perturbation=1e-3),
    "blocks of unequal size lack the factors s_k": dataclasses.replace(QUICK, rescaled=False),
}
