"""A gallery together with the model whose rows it holds."""

from collections.abc import Iterator
from contextlib import contextmanager

from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.embedder import Embedder, load
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.runtime.files import expanded


@contextmanager
def opened(
    gallery: str, run: str | None = None, url: str | None = None
) -> Iterator[tuple[Gallery, Embedder]]:
    """Open a gallery and load its model; at the end the gallery is closed.

    Args:
      gallery: its folder, or with a url its name there.
      run: the folder of the model; None: as the gallery noted it.
      url: see `Gallery.open`.

    Raises:
      InputError: as `Gallery.open` and `load` do, or it is not known where the model is.

    Example:
      >>> with opened("people") as (gallery, embedder):  # doctest: +SKIP
      ...     found = gallery.search(embedder.embed("query.jpg"))
    """
    with Gallery.open(gallery if url else expanded(gallery), url=url) as found:
        run = run or found.about.get("run")
        if not run:
            raise InputError("the gallery does not say where its model is: pass --run")
        embedder = load(expanded(run))
        found.use(embedder)
        yield found, embedder
