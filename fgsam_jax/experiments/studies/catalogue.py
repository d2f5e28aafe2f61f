"""The named experiments: a base configuration to the rows of a table.

A function's docstring is what the table says of itself; `small` asks for as few values as the
rendered set can do in minutes.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgsam_jax.config import Config, Phase
from fgsam_jax.experiments.studies.recipe import recipe
from fgsam_jax.experiments.studies.rows import (
    Row,
    leading_to,
    phase_of,
    titled,
    whole_method,
    with_,
)
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.labels.skeleton import PARTS


@dataclass(frozen=True)
class Study:
    """A named experiment.

    Attributes:
      rows: (base configuration, small) to its rows; the first of a group is what the others of it
        are compared with.
      measure: (configuration of a finished run, its folder) to further rows of results by name.
    """

    rows: Callable[[Config, bool], list[Row]]
    measure: Callable[[Config, Path], dict[str, dict[str, Any]]] | None = None


def ablation(base: Config, small: bool) -> list[Row]:
    """Table IV, with two rows more: the baseline trained for as many more epochs as the whole
    method after it, and the plain triplet loss in place of the focal."""
    del small
    config, last = whole_method(base)
    first, fused = phase_of(config, "baseline"), phase_of(base, "intermediate")
    lram = dataclasses.replace(last, name="lram", title="Base + Pose + LRAM", triplet="none")
    plain = dataclasses.replace(
        last, name="plain", title="Base + Pose + LRAM + plain triplet", triplet="triplet"
    )
    before = leading_to(config, first.name).phases
    since = [x.epochs for x in config.phases if x.model != "pose" and x not in before]
    long = dataclasses.replace(trained_on(first, sum(since)), warmup_epochs=last.warmup_epochs)
    fusion = [x for x in leading_to(base, fused.name).phases if x not in config.phases]
    config = dataclasses.replace(config, phases=(*config.phases, *fusion, lram, plain, long))
    shown = (first, long, fused, lram, plain, last)
    return [Row(titled(phase), "phases", config, phase.name) for phase in shown]


def trained_on(phase: Phase, epochs: int) -> Phase:
    """The phase once more from its own end, its schedule stretched or shortened to the epochs."""
    share = epochs / phase.epochs
    drops = tuple(sorted({round(share * epoch) for epoch in phase.optimization.drop_epochs} - {0}))
    return dataclasses.replace(
        phase,
        name="base_long",
        title="Base, trained as long",
        start_from=(phase.name,),
        epochs=epochs,
        halve_every=max(1, round(share * phase.halve_every)),
        optimization=dataclasses.replace(phase.optimization, frozen_epochs=0, drop_epochs=drops),
    )


def parse_blocks(base: Config, small: bool) -> list[Row]:
    """Table V: the whole method without and with the channel parse blocks."""
    del small
    config, last = whole_method(base)
    return [
        Row("without parse blocks", "without", with_(config, "model", parse=False), last.name),
        Row("with parse blocks", "with", with_(config, "model", parse=True), last.name),
    ]


_RANGES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # small, and else
    "margin": ((0.3, 0.5, 0.7), (0.1, 0.3, 0.5, 0.7, 0.9)),
    "bound": ((0.0, 0.01, 0.1), (0.0, 0.01, 0.02, 0.05, 0.1, 0.3)),
    "gamma": ((1.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0, 4.0)),
}


def sensitivity(base: Config, small: bool) -> list[Row]:
    """Fig. 5: margin, bound and exponent of the focal triplet loss, each on both sides of the
    paper's 0.5, 0.01 and 2, the others as in the base configuration."""
    config, last = whole_method(base)
    rows = []
    for name, (few, many) in _RANGES.items():
        own = getattr(config.loss, name)
        for value in sorted({own, *(few if small else many)}):
            changed = with_(config, "loss", **{name: value})
            run = "as_given" if value == own else f"{name}_{value:g}"
            rows.append(Row(f"{name} {value:g}", run, changed, last.name, group=name))
    return rows


def parts(base: Config, small: bool) -> list[Row]:
    """The whole method's descriptor, each of its branches alone and all but one: slices of the
    descriptors of one trained model, nothing is trained for them."""
    del small
    config, last = whole_method(base)
    names = [part.replace("_", " ") for part in PARTS]
    every = ["all", *(f"{name} alone" for name in names), *(f"all but {name}" for name in names)]
    return [Row(title, "whole", config, last.name, measured=title) for title in every]


def mining(base: Config, small: bool) -> list[Row]:
    """The hardest positive and negative of an anchor, or the mean over all its triplets."""
    del small
    config, last = whole_method(base)
    return [
        Row(f"{kind} triplets", kind, with_(config, "loss", mining=kind), last.name)
        for kind in ("hard", "all")
    ]


def backbones(base: Config, small: bool) -> list[Row]:
    """Other backbones in the whole method, the rest as in the base configuration; weights of
    config.init.backbone that bear the backbone's name are looked for under the others' names."""
    few = ("resnet10", "resnet18", "osnet_x0_25")
    many = ("resnet18", "resnet50", "osnet_x1_0", "mobilenet_v2", "efficientnet_lite0")
    config, last = whole_method(base)
    own = config.model.backbone
    rows = []
    for name in dict.fromkeys((own, *(few if small else many))):
        init = config.init.backbone.replace(own, name)
        changed = with_(with_(config, "model", backbone=name), "init", backbone=init)
        rows.append(Row(name, name, changed, last.name))
    return rows


def pooling(base: Config, small: bool) -> list[Row]:
    """The whole method with sketches of several sizes, and the full bilinear product beside them,
    for which nothing is trained. The cosine's standard error is on random maps of the model's
    sizes; one core or more shared with other programs makes times longer."""
    config, last = whole_method(base)
    sizes = (512, 2048, 8192) if small else (512, 1024, 2048, 4096, 8192)
    rows = [
        Row(
            f"sketch of {size}",
            f"sketch_{size}",
            with_(config, "model", sketch=size),
            last.name,
            measured="sketch",
        )
        for size in sizes
    ]
    full = dataclasses.replace(rows[0], title="full product", measured="full")
    return [*rows, full]


def attributes(base: Config, small: bool) -> list[Row]:
    """The whole method with the identity's terms alone, with one attribute's beside them, and with
    all attributes. The demo has the first and the last of these rows: each other takes two phases
    for each seed."""
    config, last = whole_method(base)
    alone = with_(config, "loss", attribute_weight=0.0)
    rows = [Row("identity alone", "identity", alone, last.name)]
    for kind in () if small else MARKET1501:
        one = with_(config, "loss", attributes=kind.name)
        rows.append(Row(f"with {kind.name}", kind.name, one, last.name))
    return [*rows, Row("with all attributes", "all", config, last.name)]


def _branch_scores(config: Config, folder: Path) -> dict[str, dict[str, Any]]:
    from fgsam_jax.experiments.studies.branches import branch_scores

    return branch_scores(config, folder)


def _pooling_figures(config: Config, folder: Path) -> dict[str, dict[str, Any]]:
    from fgsam_jax.experiments.studies.pooling import pooling_figures

    return pooling_figures(config, folder)


STUDIES: dict[str, Study] = {
    "ablation": Study(ablation),
    "parse_blocks": Study(parse_blocks),
    "sensitivity": Study(sensitivity),
    "parts": Study(parts, _branch_scores),
    "attributes": Study(attributes),
    "mining": Study(mining),
    "pooling": Study(pooling, _pooling_figures),
    "backbones": Study(backbones),
    "recipe": Study(recipe),
}
