"""The phases in order: check, train, evaluate, hand over."""

import json
from pathlib import Path

from fgsam_jax.checkpoint import restore
from fgsam_jax.config import Config
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.phases import evaluate_phase, renewed_results
from fgsam_jax.runtime import startup
from fgsam_jax.runtime.files import read_json
from fgsam_jax.runtime.machine import peak_memory
from fgsam_jax.runtime.output import say, write_atomically
from fgsam_jax.training.kept_config import changed_phases, record_config
from fgsam_jax.training.phase import PhaseTraining
from fgsam_jax.training.preflight import check_phases

_RESULTS = "results.json"
_SCORES = {"evaluation", "pose"}  # of `evaluate_phase`
REMEDY = "Remove it: the same command evaluates the finished phases again"


def train(config: Config, workdir: Path, datasets: Datasets) -> list[dict]:
    """Run all phases, from where an earlier run in this folder stopped.

    Args:
      config: of the run.
      workdir: gets the checkpoints, the logs and results.json.
      datasets: of the configuration.

    Returns:
      What each phase scored, see `evaluate_phase`, with its "seconds" and "memory".

    Raises:
      InputError: something given cannot be used; the message says what.
    """
    workdir.mkdir(parents=True, exist_ok=True)  # all processes see one folder
    path = workdir / _RESULTS
    results = _finished(path)
    changed = changed_phases(config, workdir, results)
    check_phases(config, workdir, datasets, results, changed)
    record_config(config, workdir, changed)
    if (renewed := renewed_results(config, workdir, datasets, results)) != results:
        results = renewed
        write_atomically(path, json.dumps(results, indent=1))
    for phase in config.phases:
        if phase.name in results:
            say(f"{phase.name}: finished before, {results[phase.name]['headline']}")
            continue
        seconds = PhaseTraining(config, workdir, phase, datasets).run()
        startup.free_memory()
        # What is reported is what the checkpoint gives back.
        info, variables, _ = restore(workdir, phase.name, config.restore, exact=True)
        asked = config.evaluation, workdir
        result = evaluate_phase(info, variables, datasets, asked) | {
            "seconds": seconds,
            "memory": peak_memory(),
        }
        say(f"{phase.name}: {result['headline']} after {seconds:.0f} s")
        results[phase.name] = result
        write_atomically(path, json.dumps(results, indent=1))
    return list(results.values())


def _finished(path: Path) -> dict[str, dict]:
    """What the finished phases of a run scored."""
    if not path.exists():
        return {}
    try:
        results = read_json(path)
        for name, result in results.items():
            if not isinstance(result["headline"], str) or not result.keys() & _SCORES:
                raise InputError(f"{path}: {name} has no headline or no scores")
    except InputError as error:
        raise InputError(f"{error}. {REMEDY}") from None
    except (TypeError, LookupError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error!r}. {REMEDY}") from None
    return results
