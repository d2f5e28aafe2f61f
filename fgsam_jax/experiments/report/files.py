"""What a finished run has left in its folder, as a report needs it: neither data nor devices."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.files import read_bytes, read_json

Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class RunFiles:
    """A run.

    Attributes:
      folder: of the run.
      config: as plain values.
      about: versions, machine and splits, of `run.about`; empty for runs of earlier versions.
      rows: of the table, references first, and then the phases that have one.
      results: of the finished phases by name, the pose phase among them.
      epochs: {phase: the log's lines of its epochs}.
      pictures: "lists" and "parts", of `visualization.results`; empty without config.log.pictures.
      finished: when, as text.
    """

    folder: Path
    config: dict[str, Any]
    about: dict[str, Any]
    rows: list[dict]
    results: dict[str, dict]
    epochs: dict[str, list[dict]]
    pictures: dict[str, Any]
    finished: str

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.resolve().name

    @property
    def phases(self) -> list[dict]:
        """The configuration of each."""
        return self.config["phases"]

    def curve(self, phase: str, kind: str, figure: str) -> Curve:
        """A figure by epoch of a phase; `kind` is "mean" (of the steps) or "scores"."""
        lines = self.epochs.get(phase, [])
        return [(x["epoch"], x[kind][figure]) for x in lines if figure in x.get(kind, {})]

    def figures(self, phase: str) -> list[str]:
        """Names of what the log has of each epoch."""
        lines = [x["mean"] for x in self.epochs.get(phase, []) if "mean" in x]
        return list(lines[-1]) if lines else []


def read_runs(folder: Path) -> list[RunFiles]:
    """The run in a folder, or all finished ones that `config.repeats` has made there.

    Raises:
      InputError: there is none, or a file is damaged.
    """
    table = folder / "table.json"
    if table.is_file() and "runs" in read_json(table):
        seeds = [x for x in folder.glob("seed*") if (x / "table.json").is_file()]
        return [_read_run(x) for x in sorted(seeds, key=lambda x: (len(x.name), x.name))]
    return [_read_run(folder)]


def _read_run(folder: Path) -> RunFiles:
    table, pictures = folder / "table.json", folder / "pictures.json"
    if not table.is_file():
        raise InputError(
            f"{folder} holds no finished run: expected table.json in it, which training writes at "
            "its end"
        )
    kept, results = read_json(table), folder / "results.json"
    return RunFiles(
        folder,
        kept["config"],
        kept.get("about", {}),
        kept["rows"],
        read_json(results) if results.is_file() else {},
        _epochs(folder / "log.jsonl"),
        read_json(pictures) if pictures.is_file() else {},
        time.strftime("%Y-%m-%d %H:%M", time.localtime(table.stat().st_mtime)),
    )


def _epochs(path: Path) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    if not path.is_file():
        return found
    for line in read_bytes(path).decode(errors="replace").splitlines():
        if '"epoch"' not in line:
            continue  # of a step; there are many
        try:
            record = json.loads(line)
            found.setdefault(record["phase"], []).append(record)
        except (ValueError, LookupError, RecursionError):
            continue  # cut short when the run was killed, or damaged
    return found
