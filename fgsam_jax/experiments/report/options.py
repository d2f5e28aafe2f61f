"""The options of a run that a reader should see."""

from dataclasses import asdict

from fgsam_jax.config import Config, Phase

# What a report tells of each phase in a table.
_TOLD = {"name", "title", "model", "start_from", "triplet", "epochs", "batch", "learning_rate"}
_SKIPPED = {"phases", "source", "attributes", "records", "joints", "folder", "init"}


def changed_options(config: dict) -> dict[str, str]:
    """Options of a configuration that differ from the defaults, by name, but for paths.

    Those in tables of their own are left out too: the seed, and of phases model and schedule.
    """
    usual, phase = _flat(asdict(Config())), _flat(asdict(Phase("name", model="pose")))
    return {
        name: value
        for name, value in options(config).items()
        if name != "seed"
        and name.rpartition("].")[2] not in _TOLD
        and value != (phase if "]." in name else usual).get(name.rpartition("].")[2])
    }


def options(config: dict) -> dict[str, str]:
    """Every option of a configuration as {its name: its value}, but for paths."""
    found = _flat(config)
    for phase in config["phases"]:
        found |= {f"phases[{phase['name']}].{name}": x for name, x in _flat(phase).items()}
    return found


def _flat(values: dict, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name not in _SKIPPED:
            found |= _flat(value, f"{prefix}{name}.")
        elif name not in _SKIPPED:
            found[prefix + name] = str(list(value) if isinstance(value, tuple) else value)
    return found
