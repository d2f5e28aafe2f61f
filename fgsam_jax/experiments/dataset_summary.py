"""What is in a data set, as a person reads it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fgsam_jax.data.checks import File, Problem, Splits, cameras, identities, sides
from fgsam_jax.data.datasets.crops import Crop
from fgsam_jax.errors import printable
from fgsam_jax.experiments.tables import aligned
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.labels.skeleton import JOINTS
from fgsam_jax.metrics import UNLABELLED
from fgsam_jax.metrics.protocol import DISTRACTOR, UNKNOWN_CAMERA, is_junk, is_person

# So many cases of a problem are listed, the others counted.
LISTED = 20
_LONGEST = 600


def drawn_text(crops: Splits, seed: int) -> str:
    """That the splits are drawn, and from what."""
    who = identities([crop for split in crops.values() for crop in split])
    _, counts = np.unique(who[is_person(who)], return_counts=True)
    return (
        f"{len(who):,} images of {len(counts):,} people, published without splits. Drawn with "
        f"split_seed={seed} from the {(counts > 1).sum():,} people with two images or more:\n"
    )


def people_text(splits: Splits, files: Mapping[Path, File], attributes: Sequence[Attribute]) -> str:
    """Everything about the images to re-identify."""
    parts = [split_table(splits, files), camera_table(splits)]
    test = [*splits.get("query", ()), *splits.get("gallery", ())]
    if attributes:
        parts.append(class_table(splits.get("train", ()), attributes, "train"))
        parts.append(class_table(test, attributes, "query and gallery"))
    return "\n\n".join(filter(None, parts)) + "\n"


def split_table(splits: Splits, files: Mapping[Path, File]) -> str:
    """Images, people, cameras and sizes of each split; sizes are height x width in pixels."""
    head = ["", "images", "identities", "distractors", "junk", "cameras", "images per identity"]
    rows = []
    for split, crops in splits.items():
        who = identities(crops)
        _, counts = np.unique(who[is_person(who)], return_counts=True)
        people = [len(counts), (who == DISTRACTOR).sum(), is_junk(who).sum()]
        seen = [len(set(cameras(crops)) - {UNKNOWN_CAMERA}), _spread(counts)]
        sizes = _sizes([files[crop.path].size for crop in crops if crop.path in files])
        rows.append([split, *map(_cell, (len(crops), *people, *seen)), *sizes])
    return aligned([[*head, "smallest", "most common", "largest"], *rows])


def camera_table(splits: Splits) -> str:
    """Images of each camera; empty where none is known."""
    counts = {split: Counter(cameras(crops).tolist()) for split, crops in splits.items()}
    seen = sorted(set().union(*counts.values()))
    if not any(seen):
        return ""
    head = ["images of camera", *(str(camera) if camera else "unknown" for camera in seen)]
    rows = [[split, *(_cell(count[camera]) for camera in seen)] for split, count in counts.items()]
    return aligned([head, *rows])


def class_table(crops: Sequence[Crop], kinds: Sequence[Attribute], title: str) -> str:
    """The classes of each attribute: labelled images and people, the share of the largest class."""
    rows, classes = [[title, "images", "identities", "majority %"]], ["classes"]
    for kind in kinds:
        labelled = [
            crop for crop in crops if crop.attributes.get(kind.name, UNLABELLED) != UNLABELLED
        ]
        people = {crop.identity for crop in labelled if crop.identity > DISTRACTOR}
        counts = Counter(crop.attributes[kind.name] for crop in labelled)
        share = f"{100 * max(counts.values()) / len(labelled):.1f}" if labelled else ""
        rows.append([kind.name, _cell(len(labelled)), _cell(len(people)), share])
        classes.append(", ".join(f"{n} {counts[i]:,}" for i, n in enumerate(kind.classes)))
    lines = aligned(rows).splitlines()
    width = max(map(len, lines))
    return "\n".join(f"{line:{width}}  {text}" for line, text in zip(lines, classes, strict=True))


def joint_text(joints: np.ndarray, mask: np.ndarray, split: str) -> str:
    """How many people crops have, in how many each joint is known, and what the loss leaves out.

    Args:
      joints: [n, people, 18, 3] as in `Table`.
      mask: [n, rows, columns], the share of each cell that counts.
      split: of the crops.
    """
    state = joints[..., 2]
    present = (state >= 0).any(-1)
    people = present.sum(1)
    shown = state[present]
    columns = {"visible": 2, "hidden": 1, "not labelled": 0, "unknown": -1}
    shares = [[f"{100 * (x == code).mean():.1f}" for code in columns.values()] for x in shown.T]
    rows = [[name, *row] for name, row in zip(JOINTS, shares, strict=True)] if len(shown) else []
    facing, right = sides(joints)
    nobody, partly = (people == 0).sum(), (mask < 1).any((1, 2)).sum()
    lines = [
        f"\n{split}: {len(joints):,} crops, {nobody:,} with nobody; "
        f"people in a crop: {_spread(people)}",
        f"masked, so without effect on the loss: {100 * float(1 - mask.mean()):.2f} % of the area, "
        f"in {partly:,} crops",
    ]
    if facing:
        lines.append(
            f"right shoulder on the left of the picture: {100 * right:.0f} % of {facing:,} people "
            f"whose nose is visible"
        )
    return "\n".join([*lines, aligned([["% of all people", *columns], *rows])])


def problem_text(problem: Problem) -> str:
    """A problem with its first cases."""
    kind = "error" if problem.fatal else "warning"
    cases = (f"    {printable(case, _LONGEST)}" for case in problem.cases[:LISTED])
    lines = [f"{kind}: {printable(problem.text, _LONGEST)}", *cases]
    more = len(problem.cases) - LISTED
    return "\n".join([*lines, f"    and {more:,} more"] if more > 0 else lines)


def _cell(value: object) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _spread(counts: np.ndarray) -> str:
    """The least, the median and the most."""
    if not len(counts):
        return "none"
    return f"{counts.min()} to {counts.max()}, median {np.median(counts):g}"


def _sizes(sizes: Sequence[tuple[int, int]]) -> list[str]:
    """The smallest by area, the most common and the largest; those unread are left out."""
    counts = Counter(size for size in sizes if size != (0, 0))
    if not counts:
        return ["", "", ""]
    ordered = sorted(counts, key=lambda size: (size[0] * size[1], size))
    (common, number), *_ = counts.most_common(1)
    share = f" ({100 * number / counts.total():.0f} %)"
    small, usual, large = (
        f"{height}x{width}" for height, width in (ordered[0], common, ordered[-1])
    )
    return [small, usual + share, large]
