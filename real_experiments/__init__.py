"""Real networks compared with the model: ResNet18 and VGG-13, trained without weight decay and measured."""

# Before matplotlib itself, which cannot be imported where MPLBACKEND names a backend that is not installed.
import ulpm.plotting as _plotting  # noqa: F401
