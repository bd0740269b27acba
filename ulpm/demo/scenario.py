"""What the page needs to know of one scenario."""

import dataclasses

from jaxtyping import UInt8
from torch import Tensor

from ulpm.demo.clock import Clock
from ulpm.demo.curves import Panel
from ulpm.demo.view import Scene

__all__ = ["Scenario"]


@dataclasses.dataclass(frozen=True, eq=False)
class Scenario:
    """A scene with its curves on one clock. ``caption`` says what to see and why, ``facts`` what run it is.

    ``target_name`` is what the dashed shape is. ``pictures`` has an image of each class, gray values in 0 … 255;
    ``pictured`` says whether the first feature of each class that is drawn is that image.
    """

    key: str
    title: str
    caption: str
    facts: str
    class_names: tuple[str, ...]
    scene: Scene
    target_name: str
    clock: Clock
    panels: tuple[Panel, ...]
    pictures: UInt8[Tensor, "K 28 28"] | None = None
    pictured: bool = False
