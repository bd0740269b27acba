"""One page that shows neural collapse happening: self-contained, offline, made from runs of this machine.

The scene is drawn on a canvas by a small orthographic projection of its own (assets/scene.js), not by WebGL: a few
hundred marks need no graphics card, the 2-D canvas is there on every phone and behind every beamer, and a click on the
slider shows the same pixels everywhere. The curves are plotly's, whose JavaScript comes out of its Python package.

    scenarios → (runs) → view: what is seen from where;  curves: what is plotted → page: one HTML file

Beside these films the page has a laboratory and a story, written in JavaScript. assets/lab follows the flow itself, one
concept a file: linear, start, losses, objective, jacobian, explicit, implicit, flow and descent are the numerics;
metrics and view are what is measured and seen; run, link, picture and lab are what a person does with them.
assets/chapters.js has the words of the story.
"""

from ulpm.demo.page import write_page
from ulpm.demo.scenario import Scenario
from ulpm.demo.scenarios import LOG10_TIME, lecture, own_setting
from ulpm.demo.view import closest_rotation
from ulpm.geometry import principal_axes

__all__ = ["LOG10_TIME", "Scenario", "closest_rotation", "lecture", "own_setting", "principal_axes", "write_page"]
