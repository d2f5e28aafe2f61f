"""What each part of the field's recipe gives."""

import dataclasses
from collections.abc import Callable
from typing import Any

from fgsam_jax.config import Config, Phase
from fgsam_jax.experiments.studies.rows import (
    Row,
    leading_to,
    phase_of,
    titled,
    whole_method,
    with_,
)

Change = Callable[[Config], Config]


def recipe(base: Config, small: bool) -> list[Row]:
    """The field's strong baseline, each of its parts left out alone, and none of them; below,
    identity heads on the parts of the whole method. Where the base configuration has a part it is
    taken from there, else with its usual value. Parts are left out rather than added one after
    the other, as then each row differs from the first by one thing and no order is chosen."""
    del small
    whole, last = whole_method(base)
    for on, _ in _PARTS.values():
        whole = on(whole)
    first = phase_of(whole, "baseline")
    baseline = leading_to(whole, first.name)
    rows = [Row(f"{titled(first)}, whole recipe", "baseline", baseline, first.name, group="Base")]
    none = baseline
    for title, (_, off) in _PARTS.items():
        run = "without_" + title.replace(" ", "_")
        rows.append(Row(f"without {title}", run, off(baseline), first.name, group="Base"))
        none = off(none)
    rows.append(Row("without any of them", "plain", none, first.name, group="Base"))
    for heads, title in (("all", "of every part"), ("plenary", "of the whole body alone")):
        changed = with_(whole, "model", identity_heads=heads)
        text = f"{titled(last)}, identity head {title}"
        rows.append(Row(text, f"heads_{heads}", changed, last.name, group="heads"))
    return rows


def _phases(change: Callable[[Phase], Phase]) -> Change:
    """A change of all phases that learn people."""

    def changed(config: Config) -> Config:
        phases = tuple(x if x.model == "pose" else change(x) for x in config.phases)
        return dataclasses.replace(config, phases=phases)

    return changed


def _phase_option(usual: Callable[[Phase], Any], off: Any, *path: str) -> tuple[Change, Change]:
    """Sets an option of phases to its usual value where it is off, and sets it off."""

    def get(phase: Phase) -> Any:
        return getattr(getattr(phase, path[0]), path[1]) if path[1:] else getattr(phase, path[0])

    def put(phase: Phase, value: Any) -> Phase:
        if not path[1:]:
            return dataclasses.replace(phase, **{path[0]: value})
        inner = dataclasses.replace(getattr(phase, path[0]), **{path[1]: value})
        return dataclasses.replace(phase, **{path[0]: inner})

    return (
        _phases(lambda phase: phase if get(phase) != off else put(phase, usual(phase))),
        _phases(lambda phase: put(phase, off)),
    )


def _smoothing(config: Config) -> Config:
    return with_(config, "loss", label_smoothing=config.loss.label_smoothing or 0.1)


# How each part is brought in and left out.
_PARTS: dict[str, tuple[Change, Change]] = {
    "warm-up": _phase_option(lambda phase: phase.epochs / 12, 0.0, "warmup_epochs"),
    "random erasing": _phase_option(lambda _: 0.3, 0.0, "augmentation", "erase"),
    "label smoothing": (_smoothing, lambda config: with_(config, "loss", label_smoothing=0.0)),
    "normalised neck": (
        lambda config: with_(config, "model", baseline_neck=True),
        lambda config: with_(config, "model", baseline_neck=False),
    ),
    "weight decay": _phase_option(lambda _: 0.05, 0.0, "optimization", "weight_decay"),
    "averaged weights": _phase_option(lambda _: 0.999, 0.0, "optimization", "ema"),
}
