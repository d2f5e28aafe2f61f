"""People and images that are in several splits, or more than once in one."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fgsam_jax.data.checks.files import File
from fgsam_jax.data.checks.problem import Problem
from fgsam_jax.data.checks.splits import Splits, people_of
from fgsam_jax.data.datasets.crops import Crop


def shared_identities(splits: Splits) -> list[Problem]:
    """People who are in the training split and in query or gallery."""
    train = people_of(splits["train"])
    found = []
    for split in ("query", "gallery"):
        shared = sorted(train & people_of(splits[split]))
        if shared:
            text = f"identities of train that are also in {split}: {len(shared):,}"
            found.append(Problem(text, tuple(f"identity {person}" for person in shared), True))
    return found


def repeated_images(splits: Splits, files: Mapping[Path, File]) -> list[Problem]:
    """The same bytes twice: in train and test, in query and gallery, or within a split."""
    groups: dict[bytes, list[tuple[str, Crop]]] = defaultdict(list)
    for split, crops in splits.items():
        for crop in crops:
            if crop.path in files and not files[crop.path].fault:
                groups[files[crop.path].digest].append((split, crop))
    repeated = [group for group in groups.values() if len(group) > 1]

    places = [[split for split, _ in group] for group in repeated]

    def cases(chosen: Iterable[bool]) -> tuple[str, ...]:
        """The chosen groups, told by name."""
        return tuple(_told(group) for group, yes in zip(repeated, chosen, strict=True) if yes)

    leaks = cases("train" in place and len(set(place)) > 1 for place in places)
    both = cases({"query", "gallery"} <= set(place) for place in places)
    problems = []
    if leaks:
        text = f"LEAK: images of train that are also in query or gallery: {len(leaks):,}"
        problems.append(Problem(text, leaks, fatal=True))
    if both:
        problems.append(Problem(f"query images that are also gallery images: {len(both):,}", both))
    for split in splits:
        within = cases(place.count(split) > 1 for place in places)
        if within:
            text = f"images that are more than once in {split}, the same bytes: {len(within):,}"
            problems.append(Problem(text, within))
    return problems


def _told(group: Sequence[tuple[str, Crop]]) -> str:
    """Files with the same bytes, and whether they are said to show different people."""
    people = sorted({crop.identity for _, crop in group})
    names = " = ".join(f"{split}/{crop.name}" for split, crop in group)
    differ = f", under the identities {', '.join(map(str, people))}" if len(people) > 1 else ""
    return names + differ
