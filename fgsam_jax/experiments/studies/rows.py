"""What a named experiment consists of, and the phases that its configurations are made from."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from fgsam_jax.config import Config, Phase
from fgsam_jax.errors import InputError


@dataclass(frozen=True)
class Row:
    """A row of an experiment's table.

    Attributes:
      title: in the table.
      run: name of the run that gives it; rows of one run have one configuration.
      config: of that run, for the first seed.
      phase: whose scores it shows.
      measured: what it shows of that which the experiment measures on a finished run: scores in
        place of the phase's, figures beside them, or both; empty: the phase's scores alone.
      group: of the plot that it belongs to; a table of several groups has several plots.
    """

    title: str
    run: str
    config: Config
    phase: str
    measured: str = ""
    group: str = ""


def whole_method(base: Config) -> tuple[Config, Phase]:
    """A configuration with the phases that lead to its last focal one, and that phase.

    Raises:
      InputError: it has none.
    """
    focal = [phase for phase in base.phases if phase.model == "fgsam" and phase.triplet == "focal"]
    if not focal:
        raise InputError("the base configuration needs a phase with model=fgsam and triplet=focal")
    return leading_to(base, focal[-1].name), focal[-1]


def leading_to(config: Config, name: str) -> Config:
    """The configuration with the named phase and those that it starts from, in their order."""
    needed = {name}
    for phase in reversed(config.phases):
        if phase.name in needed:
            needed |= set(phase.start_from)
    phases = tuple(phase for phase in config.phases if phase.name in needed)
    return dataclasses.replace(config, phases=phases)


def phase_of(config: Config, model: str) -> Phase:
    """The first phase that trains a model of a kind. Raises InputError where there is none."""
    for phase in config.phases:
        if phase.model == model:
            return phase
    raise InputError(f"the base configuration needs a phase with model={model}")


def titled(phase: Phase) -> str:
    """A phase as tables name it."""
    return phase.title or phase.name


def with_(config: Config, section: str, **values: Any) -> Config:
    """The configuration with other values in one of its sections.

    Example:
      >>> with_(Config(), "loss", margin=0.3).loss.margin
      0.3
    """
    changed = dataclasses.replace(getattr(config, section), **values)
    return dataclasses.replace(config, **{section: changed})
