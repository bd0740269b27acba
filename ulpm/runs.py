"""A run as a directory: a checkpoint first and while it runs, config.json for people, then trajectory and figures."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ulpm import _files
from ulpm.summary import markdown_table
from ulpm.trajectory import Status, Trajectory

__all__ = ["Found", "RunDirectory"]

_NOTE = "A note for people: a run goes on by what its checkpoint says."


@dataclasses.dataclass(frozen=True)
class Found:
    """What is in a directory: the arguments of its run, its result if it has one, and whether there is a checkpoint.

    ``complaint`` is a sentence if config.json says something else than the run itself, else empty.
    """

    arguments: Mapping[str, Any]
    result: Trajectory | None
    has_checkpoint: bool
    complaint: str = ""


class RunDirectory:
    """The files of one run. An earlier result in the same place stays until a new one is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.checkpoint = path / "checkpoint.safetensors"
        self.trajectory = path / "trajectory.safetensors"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing here. Raises: OSError if one does, or there is no such directory."""
        with _files.locked(self.path):
            yield

    @contextlib.contextmanager
    def begun(self, overwrite: bool) -> Iterator[None]:
        """The same for a new run, whose directory is made.

        Raises: ValueError if a run is there already and may not be overwritten, OSError as ``locked``.
        """
        _files.make_folder(self.path)
        with _files.locked(self.path):
            files = (self.config, self.checkpoint, self.trajectory)
            if any(file.exists() for file in files) and not overwrite:
                raise ValueError(
                    f"{self.path} already holds a run: give another --out, --overwrite it, or go on with `ulpm resume`."
                )
            yield

    def describe(self, arguments: Mapping[str, Any]) -> None:
        """Write config.json. Raises: OSError if that is not possible."""
        kept = json.loads(json.dumps(dict(arguments)))
        note = {"note": _NOTE, "arguments": kept, "sha256": _digest(kept)}
        _files.write_text(self.config, json.dumps(note, indent=2) + "\n")

    def found(self) -> Found:
        """What there is to go on with. The checkpoint says which run it is, else the result, else config.json.

        Raises: OSError if there is nothing, or what counts is damaged.
        """
        checkpoint = self._kept(self.checkpoint)
        result = Trajectory.load(self.trajectory) if self.trajectory.exists() else None
        if checkpoint is None and result is None:
            return Found(self._noted(trusted=True), None, False)
        config = checkpoint if checkpoint is not None else dict(result.config) if result is not None else {}
        if result is not None and any(result.config.get(key) != config.get(key) for key in ("arguments", "versions")):
            # That of an earlier run, which is being overwritten.
            result = None
        with _files.understanding(self.checkpoint if checkpoint is not None else self.trajectory, "a run"):
            arguments = dict(config.get("arguments") or {})
        return Found(arguments, result, checkpoint is not None, self._complaint(arguments))

    def finish(self, path: Trajectory, figures: bool = True) -> list[Path]:
        """Write trajectory, records.csv, results.md and figures; then the checkpoint has done its duty.

        That of a run out of steps is kept, so that it can be given more.

        Returns: the files. Raises: OSError if one cannot be written.
        """
        path.save(self.trajectory)
        return self.present(path, figures)

    def present(self, path: Trajectory, figures: bool = True) -> list[Path]:
        """``finish`` for a trajectory that is saved already.

        Raises: also ImportError if figures are asked for and matplotlib is not installed.
        """
        table, results = self.path / "records.csv", self.path / "results.md"
        path.to_csv(table)
        _files.write_text(results, markdown_table({self.path.name: path}))
        drawn: list[Path] = []
        if figures:
            from ulpm.plotting import save_figures  # not before: matplotlib is an extra

            drawn = save_figures(path, self.path)
        if Status.STEP_LIMIT not in ([path.status] if isinstance(path.status, Status) else path.status):
            self.checkpoint.unlink(missing_ok=True)
        for file in (self.config, self.checkpoint, self.trajectory, table, results, *drawn):
            _files.remove_leftovers(file)
        return [self.trajectory, table, results, *drawn]

    def _kept(self, file: Path) -> dict[str, Any] | None:
        """What a checkpoint says of its run, if it is there."""
        if not file.exists():
            return None
        _, metadata = _files.read_tensors(file)
        if metadata.get("kind") != "checkpoint":
            raise OSError(f"{file} holds a {metadata.get('kind')}, not the checkpoint of a flow.")
        with _files.understanding(file, "a checkpoint"):
            return dict(metadata["config"])

    def _noted(self, trusted: bool = False) -> dict[str, Any]:
        """The arguments in config.json; if they are to be ``trusted``, as they were written."""
        note = _files.read_json(self.config)
        arguments = note.get("arguments")
        if not isinstance(arguments, dict):
            raise OSError(f"{self.config} is damaged: it is not the configuration of a run.")
        if trusted and note.get("sha256") != _digest(arguments):
            raise OSError(
                f"{self.config} was changed since it was written, and there is no checkpoint or result beside it: "
                "begin again with `ulpm flow`."
            )
        return arguments

    def _complaint(self, arguments: Mapping[str, Any]) -> str:
        counts = f"what the run itself has saved counts, not {self.config}"
        try:
            noted = self._noted()
        except OSError:
            return f"config.json is missing or damaged: {counts}."
        other = sorted(name for name in {*noted, *arguments} if noted.get(name) != arguments.get(name))
        return f"config.json says something else about {', '.join(other)}: {counts}." if other else ""


def _digest(arguments: Mapping[str, Any]) -> str:
    return _files.text_digest(json.dumps(arguments, sort_keys=True))
