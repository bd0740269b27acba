"""What the page needs to know of one scenario."""

import dataclasses

from ulpm.demo.clock import Clock
from ulpm.demo.curves import Panel
from ulpm.demo.view import Scene

__all__ = ["Scenario"]


@dataclasses.dataclass(frozen=True, eq=False)
class Scenario:
    """A scene with its curves on one clock. ``caption`` says what to see and why, ``facts`` what run it is.

    ``target_name`` is what the dashed shape is.
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
