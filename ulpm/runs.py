"""A run as a directory: config.json first, checkpoints while it runs, then trajectory, table and figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ulpm import _files
from ulpm.plotting import save_figures
from ulpm.summary import markdown_table
from ulpm.trajectory import Status, Trajectory

__all__ = ["RunDirectory"]


class RunDirectory:
    """The files of one run. An earlier result in the same place stays until a new one is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.checkpoint = path / "checkpoint.safetensors"
        self.trajectory = path / "trajectory.safetensors"

    def begin(self, arguments: Mapping[str, Any], overwrite: bool) -> None:
        """Write config.json and drop an older checkpoint.

        Raises: ValueError if a run is there already and may not be overwritten, OSError if nothing can be written.
        """
        if (self.config.exists() or self.trajectory.exists()) and not overwrite:
            raise ValueError(
                f"{self.path} already holds a run: give another --out, --overwrite it, or go on with `ulpm resume`."
            )
        # A checkpoint of other arguments must not outlive them.
        self.checkpoint.unlink(missing_ok=True)
        _files.write_text(self.config, json.dumps({"arguments": dict(arguments)}, indent=2) + "\n")

    def arguments(self) -> dict[str, Any]:
        """The arguments in config.json. Raises: OSError if it is not there or damaged."""
        text = _files.read_text(self.config)
        try:
            arguments = json.loads(text)["arguments"]
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"{self.config} is damaged: it is not the configuration of a run.") from error
        return dict(arguments)

    def result(self) -> Trajectory | None:
        """The trajectory, if it is there and came from the arguments in config.json."""
        if not self.trajectory.exists():
            return None
        path = Trajectory.load(self.trajectory)
        return path if path.config.get("arguments") == self.arguments() else None

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint of the arguments in config.json. Raises: OSError if it is damaged."""
        if not self.checkpoint.exists():
            return False
        _, metadata = _files.read_tensors(self.checkpoint)
        return bool(metadata["config"].get("arguments") == self.arguments())

    def finish(self, path: Trajectory, figures: bool = True) -> list[Path]:
        """Write trajectory, records.csv, results.md and figures; then the checkpoint has done its duty.

        That of a run out of steps is kept, so that it can be given more.

        Returns: the files. Raises: OSError if one cannot be written.
        """
        path.save(self.trajectory)
        table, results = self.path / "records.csv", self.path / "results.md"
        path.to_csv(table)
        _files.write_text(results, markdown_table({self.path.name: path}))
        drawn = save_figures(path, self.path) if figures else []
        if Status.STEP_LIMIT not in ([path.status] if isinstance(path.status, Status) else path.status):
            self.checkpoint.unlink(missing_ok=True)
        for file in (self.checkpoint, self.trajectory, table, results, *drawn):
            _files.remove_leftovers(file)
        return [self.trajectory, table, results, *drawn]
