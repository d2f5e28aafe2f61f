"""Phases that several runs have in common are trained once.

A phase is known by everything that its weights and scores depend on. Where a run begins, what other
runs have finished of its phases is put into its folder, and the program finds it finished.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from fgsam_jax.checkpoint import checkpoint_folder
from fgsam_jax.config import Config, Phase, from_dict, to_dict
from fgsam_jax.errors import InputError
from fgsam_jax.models.factory import make_model
from fgsam_jax.runtime.files import read_json
from fgsam_jax.runtime.output import say, write_atomically
from fgsam_jax.training.kept_config import record_config

# Written last by `adopt`: a folder without it holds no run yet.
_CONFIG, _RESULTS = "config.json", "results.json"
# Of a configuration, what no weight or score of a phase depends on, and what is looked at apart.
_ASIDE = {"phases", "model", "loss", "log", "evaluation", "repeats", "references", "pose_data"}


def fingerprint(config: Config, name: str) -> str:
    """What the result of a phase depends on, as text: equal texts mean equal weights and scores.

    Args:
      config: of the run.
      name: of the phase.
    """
    phase = next(phase for phase in config.phases if phase.name == name)
    read: dict[str, Any] = {k: v for k, v in to_dict(config).items() if k not in _ASIDE}
    read["data"].pop("records")
    read["phase"] = dataclasses.asdict(phase)
    read["phase"]["start_from"] = [fingerprint(config, name) for name in phase.start_from]
    # A model tells all its sizes, and none that are another's.
    read["model"] = repr(make_model(config.model, phase.model, 1, ())), config.model.prior_bias
    read["loss"] = _loss(config, phase)
    if phase.model == "pose":
        read["pose_data"] = dataclasses.asdict(config.pose_data)
    read["init"].pop({"pose": "backbone", "baseline": "pose"}.get(phase.model, ""), None)
    if config.restore == "best":
        read["evaluate_every"] = config.log.evaluate_every
    return json.dumps(read, sort_keys=True)


def _loss(config: Config, phase: Phase) -> dict[str, Any]:
    """The options that a phase's loss reads."""
    if phase.model == "pose":
        return {}
    values = dataclasses.asdict(config.loss)
    unread = {"focal": set(), "triplet": {"bound", "gamma"}}.get(
        phase.triplet, {"bound", "gamma", "margin", "mining", "triplet_weight"}
    )
    if phase.model == "baseline":
        unread = unread | {"attribute_weight", "attribute_smoothing", "attributes"}
    return {name: value for name, value in values.items() if name not in unread}


def adopt(config: Config, folder: Path, root: Path) -> None:
    """Put into a new run's folder what other runs have finished of its phases.

    Args:
      config: of the run.
      folder: of the run; one in which a run has begun is left as it is.
      root: of all runs, root/<experiment>/<run>/seed<n>.
    """
    if (folder / _CONFIG).exists():
        return
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    wanted = {phase.name: fingerprint(config, phase.name) for phase in config.phases}
    found: dict[str, dict] = {}
    for other in sorted(root.glob(f"*/*/seed*/{_RESULTS}")):
        try:
            held = from_dict(read_json(other.with_name(_CONFIG)))
            results = read_json(other)
        except InputError:
            continue  # its own command tells of it
        for phase in held.phases:
            name = phase.name
            if (
                name in results
                and name not in found
                and fingerprint(held, name) == wanted.get(name)
            ):
                source = checkpoint_folder(other.parent, name)
                shutil.copytree(source, checkpoint_folder(folder, name), copy_function=_link)
                found[name] = results[name]
                say(f"{name}: trained by {other.parent}")
    if found:
        write_atomically(folder / _RESULTS, json.dumps(found, indent=1))
        record_config(config, folder, ())


def _link(source: str, target: str) -> None:
    """Another name of the file, as checkpoints are never changed; a copy where disks have none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
