"""Crops into a gallery, chunk by chunk, going on where an earlier call stopped."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from fgsam_jax.data.images import read_image, resize
from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.crop_lists import Crop
from fgsam_jax.retrieval.embedder import Embedder
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.retrieval.rows import known_values
from fgsam_jax.runtime.ahead import made_ahead


class Indexed(NamedTuple):
    """What `index_crops` has done.

    Attributes:
      added: crops.
      known: crops that were there before.
      broken: why crops were left out, a line each.
    """

    added: int
    known: int
    broken: list[str]


def index_crops(crops: Sequence[Crop], embedder: Embedder, gallery: Gallery) -> Indexed:
    """Embed crops and add them to a gallery; those whose names it knows are passed over.

    Several processes may do so with shares of the crops, if the gallery is on a server.

    Args:
      crops: see `crop_lists.list_crops`.
      embedder: of the model whose gallery it is.
      gallery: opened with the same embedder.

    Example:
      >>> index_crops(list_crops(["data"], Path(".")), embedder, gallery)  # doctest: +SKIP
      Indexed(added=377, known=0, broken=[])
    """
    config = embedder.info.config
    size = config.evaluation_batch
    broken: list[str] = []
    usable = []
    for crop in crops:
        try:
            known_values(crop.name, crop.identity, crop.camera, crop.time, crop.words)
            usable.append(crop)
        except InputError as error:
            broken.append(str(error))
    known: set[str] = set()
    for begin in range(0, len(usable), 10_000):
        known |= gallery.known([crop.name for crop in usable[begin : begin + 10_000]])
    new = [crop for crop in usable if crop.name not in known]

    def pixels(crop: Crop) -> np.ndarray | InputError:
        try:
            return resize(read_image(crop.path)[1], config.data.height, config.data.width)
        except InputError as error:
            return error

    added = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, len(new), size)
        chunks = made_ahead(lambda at: list(pool.map(pixels, new[at : at + size])), starts, 1)
        with tqdm(total=len(new), unit=" crops", leave=False, disable=None) as bar:
            for at, chunk in zip(starts, chunks, strict=True):
                broken += [str(x) for x in chunk if isinstance(x, InputError)]
                pairs = zip(new[at : at + size], chunk, strict=True)
                whole = [(crop, x) for crop, x in pairs if not isinstance(x, InputError)]
                if whole:
                    _add(
                        [crop for crop, _ in whole],
                        np.stack([x for _, x in whole]),
                        gallery,
                        embedder,
                    )
                added += len(whole)
                bar.update(len(chunk))
    return Indexed(added, len(known), broken)


def _add(crops: list[Crop], images: np.ndarray, gallery: Gallery, embedder: Embedder) -> None:
    gallery.add(
        [crop.name for crop in crops],
        embedder.describe(images),
        identities=[crop.identity for crop in crops],
        cameras=[crop.camera for crop in crops],
        times=[crop.time for crop in crops],
        words=[crop.words for crop in crops],
    )
