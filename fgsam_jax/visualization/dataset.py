"""A contact sheet of a data set: whether people, labels and joints fit is seen at a glance."""

import numpy as np
from PIL import Image

from fgsam_jax.data import Table
from fgsam_jax.errors import InputError
from fgsam_jax.visualization import draw, poses

_COLUMNS = 8


def people_sheet(train: Table, query: Table, gallery: Table) -> Image.Image:
    """Pairs of crops that should show one person: a row of train, one of query and gallery.

    Captions are the image's name, split, identity, camera and attributes.
    """
    pairs = _COLUMNS // 2
    tiles, captions = [], []
    for first, second, titles in (
        (train, train, ("train", "train")),
        (query, gallery, ("query", "gallery")),
    ):
        people = np.intersect1d(_people(first), _people(second))
        for person in _spaced(people, pairs):
            row = np.flatnonzero(first.identities == person)[0]
            others = np.flatnonzero(second.identities == person)
            # The last is most often by another camera.
            for table, title, index in ((first, titles[0], row), (second, titles[1], others[-1])):
                tiles.append(np.asarray(table.images[index]))
                captions.append(_caption(table, int(index), title))
    return draw.contact_sheet(tiles, _COLUMNS, captions)


def pose_sheet(table: Table, crops: int = 2 * _COLUMNS) -> Image.Image:
    """Crops with their joints, limbs and mask drawn on, and what the colours mean.

    Crops without a labelled joint are shown only if there are no others.
    """
    if table.joints is None or table.mask is None:
        raise InputError("a sheet of poses was asked for a set without joints")
    known = np.flatnonzero((table.joints[..., 2] > 0).any((1, 2)))
    rows = _spaced(known if len(known) else np.arange(len(table)), crops)
    tiles = [
        poses.labelled_pose(np.asarray(table.images[row]), table.joints[row], table.mask[row])
        for row in rows
    ]
    captions = [_broken(str(table.names[row])) for row in rows]
    return draw.stacked(draw.contact_sheet(tiles, _COLUMNS, captions), poses.pose_key())


def _people(table: Table) -> np.ndarray:
    return np.unique(table.identities[table.identities > 0])


def _spaced(values: np.ndarray, number: int) -> np.ndarray:
    """So many of the values, evenly spaced, or all."""
    return values[np.linspace(0, len(values) - 1, min(number, len(values))).astype(int)]


def _caption(table: Table, row: int, title: str) -> str:
    camera = f" c{table.cameras[row]}" if table.cameras[row] else ""
    lines = [_broken(str(table.names[row])), f"{title}, id {table.identities[row]}{camera}"]
    for kind in table.kinds:
        value = table.attributes[kind.name][row]
        lines.append(f"{kind.name}: {kind.classes[value] if value >= 0 else '-'}")
    return "\n".join(lines)


def _broken(name: str, width: int = 24) -> str:
    """A long name on several lines, so that its column stays narrow."""
    return "\n".join(name[start : start + width] for start in range(0, len(name), width))
