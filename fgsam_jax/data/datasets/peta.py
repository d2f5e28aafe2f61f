"""PETA: 19,000 images of 8,699 people from ten older sets, with 61 binary and 4 colour labels.

Source: Deng et al., "Pedestrian Attribute Recognition at Far Distance", 2014. The labels of a
subset stand in its Label.txt, a person a line; a person's number is the image's name up to the
first _ or dot. In CUHK every image is a person of its own. There are no cameras.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import tensorflow_datasets as tfds

from fgsam_jax.data.datasets.crops import Crop, CropsBuilder
from fgsam_jax.data.datasets.image_files import check_depth, images_in
from fgsam_jax.data.datasets.source import check_layout
from fgsam_jax.data.splits import WHOLE
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import PETA, Attribute

SUBSETS = (
    "3DPeS", "CAVIAR4REID", "CUHK", "GRID", "i-LID", "MIT", "PRID", "SARC3D", "TownCentre", "VIPeR",
)  # fmt: skip

# The published labels that mean a class of ours. Colours follow their own names.
_MEANING: dict[str, dict[str, tuple[str, ...]]] = {
    "gender": {"male": ("personalMale",), "female": ("personalFemale",)},
    "hair": {"short": ("hairShort", "hairBald"), "long": ("hairLong",)},
    "hat": {"yes": ("accessoryHat",)},
    "age": {
        "young": ("personalLess15",),
        "teenager": ("personalLess30",),
        "adult": ("personalLess45", "personalLess60"),
        "old": ("personalLarger60",),
    },
    "backpack": {"yes": ("carryingBackpack",)},
    "bag": {"yes": ("carryingMessengerBag", "carryingPlasticBags")},
    "sleeve": {
        "long": ("upperBodyLongSleeve",),
        "short": ("upperBodyShortSleeve", "upperBodyNoSleeve"),
    },
    "lower_type": {"skirt": ("lowerBodyLongSkirt", "lowerBodyShortSkirt")},
    "lower_length": {
        "long": ("lowerBodyTrousers", "lowerBodyJeans", "lowerBodyLongSkirt", "lowerBodySuits"),
        "short": (
            "lowerBodyShorts", "lowerBodyHotPants", "lowerBodyCapri", "lowerBodyShortSkirt",
        ),
    },
    "boots": {"yes": ("footwearBoots",)},
}  # fmt: skip
_COLOURS = {"upper_colour": "upperBody", "lower_colour": "lowerBody", "shoe_colour": "footwear"}
# What a person who has none of an attribute's labels has.
_OTHERWISE = {"hat": "no", "backpack": "no", "bag": "no", "boots": "no", "lower_type": "other"}

_LABEL = re.compile(r"(accessory|carrying|footwear|hair|lowerBody|personal|upperBody)[A-Z]\w*")


class Peta(CropsBuilder):
    """Builder of PETA; its one split is `WHOLE`, in the order of the subsets and of the file names.

    People are numbered from 1 in that order. The splits for re-identification are drawn from it,
    see `fgsam_jax.data.table.load_table`.
    """

    name = "peta"
    VERSION = tfds.core.Version("1.0.0")
    TITLE = "PETA"

    @staticmethod
    def files(source: Path) -> list[Path]:
        """The label file and every image of each subset."""
        check_layout("PETA", source, [f"{subset}/archive/Label.txt" for subset in SUBSETS])
        found = []
        for subset in SUBSETS:
            check_depth(source / subset / "archive")
            images = images_in(source / subset / "archive")
            if not images:
                raise InputError(
                    f"PETA at {source} is incomplete: {subset}/archive holds no image. Unpack the "
                    f"data set again."
                )
            found += [source / subset / "archive" / "Label.txt", *images]
        return found

    def attributes(self) -> tuple[Attribute, ...]:
        """Thirteen."""
        return PETA

    def crops(self) -> dict[str, list[Crop]]:
        """Every image, with its person's attributes."""
        crops: list[Crop] = []
        numbers: dict[tuple[str, str], int] = {}
        for subset in SUBSETS:
            folder = self.builder_config.source / subset / "archive"
            labels = read_labels(folder / "Label.txt")
            images = images_in(folder)
            _check_subset(folder, labels, images)
            for path in images:
                person = person_of(path.name)
                if person not in labels:
                    raise InputError(
                        f"{folder / 'Label.txt'} has no line for person {person} of {path}. Use "
                        f"the label file of this subset."
                    )
                number = numbers.setdefault((subset, person), len(numbers) + 1)
                name = f"{subset}/{path.name}"
                crops.append(Crop(path, name, number, attributes=labels[person]))
        return {WHOLE: crops}


def _check_subset(folder: Path, labels: dict[str, dict[str, int]], images: list[Path]) -> None:
    """Refuse the labels of another subset: numbers from 1 are in most of them."""
    absent = len(labels.keys() - {person_of(path.name) for path in images})
    # The published files have up to 6 lines without an image.
    if absent > max(10, 0.05 * len(labels)):
        raise InputError(
            f"{folder / 'Label.txt'} names {absent} of {len(labels)} people without an image in "
            f"{folder}: use the label file of this subset, and all of its images."
        )


def person_of(name: str) -> str:
    """The person in a file's name or a label line: what stands before the first _ or dot."""
    return re.split(r"[_.]", name, maxsplit=1)[0]


def read_labels(path: Path) -> dict[str, dict[str, int]]:
    """The attribute classes of every person of a Label.txt: {person: {name: class}}.

    Raises:
      InputError: a line that is no person with PETA's labels, or a person with two lines.
    """
    found: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as PETA's labels ({error}).") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        person = person_of(words[0])
        unknown = [word for word in words[1:] if not _LABEL.fullmatch(word)]
        if unknown or person in found or not person:
            why = f"{unknown[0]!r} is no label" if unknown else f"person {person!r} comes twice"
            raise InputError(
                f"{path} cannot be read as PETA's labels: line {number}, {why}. Use the file as "
                f"published."
            )
        found[person] = classes(words[1:])
    return found


def classes(labels: Iterable[str]) -> dict[str, int]:
    """PETA's labels of a person as classes of Table I's attributes: {name: class}.

    A person with labels of several classes of an attribute, two colours say, or with none, has -1
    there: not labelled. Of what is worn or carried, no label means no.
    """
    given = set(labels)
    found = {}
    for attribute in PETA:
        meaning = _MEANING.get(attribute.name) or {
            colour: (_COLOURS[attribute.name] + colour.title(),) for colour in attribute.classes
        }
        fit = [name for name, words in meaning.items() if given.intersection(words)]
        if not fit and attribute.name in _OTHERWISE:
            fit = [_OTHERWISE[attribute.name]]
        found[attribute.name] = attribute.classes.index(fit[0]) if len(fit) == 1 else -1
    return found
