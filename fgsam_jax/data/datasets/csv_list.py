"""A set listed in a CSV: path and identity of every image, perhaps camera, split and attributes.

docs/own_data.md shows one.
"""

import csv
import os
import re
from pathlib import Path

from fgsam_jax.data.datasets.crops import Crop
from fgsam_jax.data.datasets.image_files import SUFFIXES
from fgsam_jax.data.datasets.names import check_distinct, is_missing
from fgsam_jax.data.splits import SPLITS, WHOLE
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import DUKEMTMC, MARKET1501, PART_OF, PETA, Attribute
from fgsam_jax.labels.skeleton import PARTS
from fgsam_jax.runtime.files import regular_file

NEEDED = ("path", "identity")
# A column with more different values is a name or a measure, not an attribute.
MOST_CLASSES = 50
MOST_COLUMNS = 500
_LONGEST_NAME = 50
# The branches that attributes can supervise.
BODY_PARTS = tuple(part for part in PARTS if part != "plenary")

# Nine digits fit the 32 bits of a table.
_WHOLE_NUMBER = re.compile(r"-1|[0-9]{1,9}")
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*")


def read_csv(
    file: Path, *, outside: bool = False
) -> tuple[dict[str, list[Crop]], tuple[Attribute, ...]]:
    """The crops of every split in the order of the rows, and the attributes. Reads no image.

    Args:
      file: UTF-8, its first line names the columns: path (relative to the file's folder, or
        absolute) and identity, perhaps camera, split and attributes in any order. A column
        without any value is as good as none; what tables write for one, such as nan, is none.
      outside: whether images may lie outside of the file's folder.

    Returns:
      {split: crops}, one split `WHOLE` without a column split; and the attributes in the order of
      their columns.

    Raises:
      InputError: a column is missing or no attribute, a value is impossible, or a file is not
        there; the message names the column or the line.
    """
    lines, columns = read_columns(file)
    paths = _paths(file, lines, columns.pop("path"), outside)
    identities = _identities(file, lines, columns.pop("identity"))
    cameras = _cameras(file, lines, columns.pop("camera", None))
    splits = _splits(file, lines, columns.pop("split", None))
    attributes = [_attribute(file, name, values) for name, values in columns.items()]
    names = [attribute.name for attribute in attributes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{file} has two columns of the attribute {twice!r}: rename one.")
    numbers = [{name: n for n, name in enumerate(a.classes)} for a in attributes]
    found: dict[str, list[Crop]] = {split: [] for split in dict.fromkeys(splits)}
    for row, (name, path) in enumerate(paths):
        labels = {
            attribute.name: classes[values[row]]
            for attribute, classes, values in zip(
                attributes, numbers, columns.values(), strict=True
            )
            if values[row]
        }
        crop = Crop(path, name, identities[row], cameras[row], labels)
        found[splits[row]].append(crop)
    return found, tuple(attributes)


def read_columns(
    file: Path, needed: tuple[str, ...] = NEEDED
) -> tuple[list[int], dict[str, list[str]]]:
    """The line number of every row, and the columns by name, without those that are empty.

    Raises:
      InputError: it cannot be read, or a column that is needed is missing.
    """
    try:
        # A byte order mark and the line ends of Windows are no part of the text.
        with regular_file(file).open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, skipinitialspace=True, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{file} cannot be read as a CSV ({error}): save it as comma-separated text in UTF-8."
        ) from None
    rows = [(line, row) for line, row in rows if any(row)]
    header = rows[0][1] if rows else []
    missing = [name for name in needed if name not in header]
    if missing:
        hint = " Separate the columns by commas." if len(header) == 1 and ";" in header[0] else ""
        raise InputError(
            f"{file} has no column {missing[0]!r}: its first line must name the columns "
            f"{' and '.join(needed)}, found {', '.join(map(repr, header)) or 'nothing'}.{hint}"
        )
    if len(header) > MOST_COLUMNS:
        raise InputError(f"{file} has {len(header):,} columns, at most {MOST_COLUMNS} are read.")
    for line, row in rows:
        if len(row) != len(header):
            raise _wrong(file, line, f"{len(row)} fields, but {len(header)} columns")
    lines = [line for line, _ in rows[1:]]
    if not lines:
        raise InputError(f"{file} has a header and no rows: list an image on each line.")
    columns: dict[str, list[str]] = {}
    for name, values in zip(header, zip(*(row for _, row in rows[1:]), strict=True), strict=True):
        if name in columns:
            raise InputError(f"{file} has two columns {name!r}: rename or remove one.")
        if name not in needed:
            # "none" may be a class of its own, of a bag say; "None" is Python's.
            values = tuple("" if is_missing(x) and x != "none" else x for x in values)
        if name in needed or any(values):
            columns[name] = list(values)
    return lines, columns


def _paths(
    file: Path, lines: list[int], values: list[str], outside: bool
) -> list[tuple[str, Path]]:
    """Name and file of every image."""
    seen: dict[str, int] = {}
    found = []
    folder = os.path.abspath(file.parent)
    for line, value in zip(lines, values, strict=True):
        path = os.path.join(folder, value)
        if not value.lower().endswith(SUFFIXES):
            raise _wrong(file, line, f"{value!r} is no image: expected {', '.join(SUFFIXES)}")
        if not outside and not os.path.normpath(path).startswith(os.path.join(folder, "")):
            what = f"{value!r} is not in {folder}, the folder of the CSV"
            raise _wrong(file, line, f"{what}; pass --config.data.outside=true if that is meant")
        if not os.path.isfile(path):
            raise _wrong(file, line, f"there is no image {path!r}")
        first = seen.setdefault(os.path.normpath(path), line)
        if first != line:
            raise _wrong(file, line, f"{value!r} stands in line {first} too; list an image once")
        found.append((os.path.normpath(value), Path(path)))
    return found


def _identities(file: Path, lines: list[int], values: list[str]) -> list[int]:
    """Whole numbers as they are; names numbered from 1 in sorted order, beside -1 and 0."""
    names: dict[str, int] = {}
    people: dict[str, int] = {}
    for line, value in zip(lines, values, strict=True):
        if is_missing(value):
            known = f"is {value!r}, which is nobody" if value else "is empty"
            raise _wrong(file, line, f"the identity {known}; leave the image out or give -1, junk")
        if not _WHOLE_NUMBER.fullmatch(value):
            if _NUMBER.fullmatch(value):
                what = f"the identity {value!r} is neither a name nor a whole number from -1 on"
                raise _wrong(file, line, what)
            names.setdefault(value, line)
        elif int(value) > 0:
            people.setdefault(value, line)
    if names and people:
        (name, named), (number, numbered) = next(iter(names.items())), next(iter(people.items()))
        raise InputError(
            f"{file} has names and numbers as identities: {name!r} in line {named}, {number!r} in "
            f"line {numbered}. Use one kind."
        )
    _check_distinct(file, "identities", names | people)
    numbers = {name: number for number, name in enumerate(sorted(names), 1)}
    return [numbers[value] if value in numbers else int(value) for value in values]


def _cameras(file: Path, lines: list[int], values: list[str] | None) -> list[int]:
    """Whole numbers as they are, other texts numbered from 1 in sorted order; 0 without any."""
    if values is None:
        return [0] * len(lines)
    first: dict[str, int] = {}
    for line, value in zip(lines, values, strict=True):
        first.setdefault(value, line)
    for name, line in first.items():
        if is_missing(name):
            what = f"the camera is {name or 'empty'}; give one to every image, or to none"
            raise _wrong(file, line, what)
    _check_distinct(file, "cameras", first)
    names = sorted(first)
    if all(_WHOLE_NUMBER.fullmatch(name) for name in names):
        for line, value in zip(lines, values, strict=True):
            if int(value) < 1:
                raise _wrong(file, line, f"the camera is {value}; number cameras from 1")
        return [int(value) for value in values]
    numbers = {name: number for number, name in enumerate(names, 1)}
    return [numbers[value] for value in values]


def _splits(file: Path, lines: list[int], values: list[str] | None) -> list[str]:
    if values is None:
        return [WHOLE] * len(lines)
    for line, value in zip(lines, values, strict=True):
        if value not in SPLITS:
            raise _wrong(file, line, f"the split is {value!r}, not one of {', '.join(SPLITS)}")
    for split in SPLITS:
        if split not in values:
            raise InputError(
                f"{file} has no row of the split {split}: give all of {', '.join(SPLITS)}, or "
                f"remove the column to have them drawn."
            )
    return values


def _attribute(file: Path, column: str, values: list[str]) -> Attribute:
    """The attribute that a column holds."""
    part, _, name = column.rpartition(".")
    part = part or PART_OF.get(name, "")
    if part not in BODY_PARTS or not name.isidentifier() or len(name) > _LONGEST_NAME:
        raise InputError(
            f"{file} has a column {column!r}, which is no attribute known here: name it part.name, "
            f"such as lower_leg.socks, with one of the parts {', '.join(BODY_PARTS)}, or remove it."
        )
    classes = sorted(set(values) - {""})
    for known in (*MARKET1501, *DUKEMTMC, *PETA):
        if known.name == name and set(classes) <= set(known.classes):
            return Attribute(name, part, known.classes)
    why = ""
    if not 1 < len(classes) <= MOST_CLASSES:
        why = f"has {len(classes)} different values, an attribute 2 to {MOST_CLASSES}"
    for value in classes:
        if not value.isprintable():
            why = why or f"has a value that cannot be printed, {value!r}"
    if why:
        raise InputError(f"{file}: the column {column!r} {why}. Correct or remove it.")
    check_distinct(f"{file}, column {column!r}: the classes", dict.fromkeys(classes, ""))
    return Attribute(name, part, tuple(classes))


def _check_distinct(file: Path, what: str, lines: dict[str, int]) -> None:
    check_distinct(f"{file}: the {what}", {name: f" (line {n})" for name, n in lines.items()})


def _wrong(file: Path, line: int, what: str) -> InputError:
    return InputError(f"{file}, line {line}: {what}.")
