"""The configuration that a run's folder keeps: a run goes on with the one it began with."""

import hashlib
import json
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from fgsam_jax.checkpoint import checkpoint_folder
from fgsam_jax.config import Config, from_dict, to_dict
from fgsam_jax.errors import InputError
from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.files import read_bytes, read_json
from fgsam_jax.runtime.output import say, write_atomically

_KEPT = "config.json"


def changed_phases(config: Config, workdir: Path, results: dict[str, dict]) -> list[str]:
    """Refuse a folder that holds a run of another configuration.

    Paths, logging and evaluation may differ, and so may a phase that has no result yet: it starts
    again. So do all that have none when `config.init` differs; the finished ones stay.

    Returns:
      The names of the phases that start again.
    """
    path = workdir / _KEPT
    if not path.exists():
        return []
    changed: list[str] = []
    wanted = _plain(config)
    try:
        held = _plain(from_dict(read_json(path)))
    except InputError as error:
        raise InputError(
            f"the configuration of {path.parent} is damaged: {error}. If the run was begun with "
            "this configuration, remove config.json; else choose another --workdir"
        ) from None
    for name, value in _settings(held).items():
        if value != _settings(wanted).get(name):
            raise InputError(
                f"{workdir} holds a run of another configuration (config.{name} differs): "
                "choose another --workdir, or give the same configuration to resume"
            )
    phases = {phase["name"]: phase for phase in wanted["phases"]}
    same_start = held["init"] == wanted["init"]
    for phase in held["phases"]:
        name = phase["name"]
        if phases.get(name) == phase and (same_start or name in results):
            continue
        if name in results:
            raise InputError(
                f"{workdir} holds a finished phase {name} of another configuration: choose "
                "another --workdir, or give the same configuration to resume"
            )
        changed.append(name)
    return changed


def record_config(config: Config, workdir: Path, changed: Collection[str]) -> None:
    """Keep the configuration in the folder, and drop what phases that start again have left.

    Of several processes all have compared before the first writes.
    """
    distributed.wait("the configuration has been compared")
    for name in changed:
        say(f"{name}: changed before it was finished, it starts again")
        if distributed.first():
            shutil.rmtree(checkpoint_folder(workdir, name), ignore_errors=True)
    write_atomically(workdir / _KEPT, json.dumps(_plain(config), indent=1))
    distributed.wait("the configuration is written")
    distributed.check_alike(lambda: {str(workdir / _KEPT): _seen(workdir / _KEPT)})


def _seen(path: Path) -> str:
    """A digest of what the first process has written, if this one is in the same folder."""
    until = time.monotonic() + 60  # a network's disk may take its time
    while not path.is_file() and time.monotonic() < until:
        time.sleep(1)
    return hashlib.sha256(read_bytes(path)).hexdigest()[:16]


def _plain(config: Config) -> dict:
    """As it is written: JSON knows no tuples."""
    return json.loads(json.dumps(to_dict(config)))


def _settings(values: dict) -> dict:
    """The part of a configuration that shapes the numbers, apart from the phases."""
    free = (
        "phases",
        "init",
        "compute",
        "log",
        "evaluation",
        "evaluation_batch",
        "restore",
        "references",
        "repeats",
    )
    paths = ("source", "records", "attributes", "joints", "folder", "outside")
    return {
        name: {key: v for key, v in value.items() if key not in paths}
        if isinstance(value, dict)
        else value
        for name, value in values.items()
        if name not in free
    }
