"""What a gallery asks of the place where its rows lie, whichever it is.

`folder_store` keeps them in a folder, by Qdrant Edge, and `server_store` on a Qdrant server. Both
give the same numbers; that their Python classes differ is hidden there.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fgsam_jax.errors import InputError

# What filters ask for, and how it is indexed.
INDEXED = {
    "name": "Keyword", "camera": "Keyword", "identity": "Keyword", "words": "Keyword",
    "answers": "Keyword", "time": "Float",
}  # fmt: skip
# A server takes 32 MB in one request.
AT_ONCE = 256
EUCLID, DOT = "Euclid", "Dot"


class Entry(NamedTuple):
    """What is kept of one image: its vectors by name, and plain values for JSON."""

    id: str
    vectors: dict[str, np.ndarray]
    values: dict[str, Any]


class Hit(NamedTuple):
    """One image found: distance or product, and what was asked for of its vectors."""

    score: float
    values: dict[str, Any]
    vectors: dict[str, Any]


class Condition(NamedTuple):
    """That a value is one of some, or lies between two."""

    key: str
    among: list[str] | None = None
    least: float | None = None
    most: float | None = None


class Store(Protocol):
    """What a gallery asks of its folder or server."""

    about: dict[str, Any] | None  # what the gallery says of itself; None: it does not exist

    def begin(self, about: dict[str, Any], vectors: dict[str, tuple[int, str]]) -> None:
        """Make it, for vectors of a size and kind each."""

    def note(self, values: dict[str, Any]) -> None:
        """Keep more of what the gallery says of itself."""

    def put(self, entries: Sequence[Entry]) -> None:
        """Add or replace; when it returns they outlast a kill."""

    def remove(self, ids: Sequence[str]) -> None:
        """Leave out."""

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of them are there."""

    def get(self, ids: Sequence[str], vectors: list[str]) -> list[Hit]:
        """Those of them that are there, in any order."""

    def counts(self, key: str, most: int) -> dict[str, int]:
        """How many there are of each value, for the most frequent values."""

    def nearest(
        self, name: str, rows: np.ndarray, k: int, where: list[Condition], exact: bool,
        vectors: list[str],
    ) -> list[list[Hit]]:  # fmt: skip
        """The k best of each row [n, size], by the vector of a name."""

    def scan(self, where: list[Condition], vectors: list[str]) -> Iterator[Hit]:
        """All, in the order of their ids."""

    def count(self, where: list[Condition]) -> int:
        """How many there are; 0 where it does not exist."""

    def optimize(self) -> None:
        """Build the graph of approximate searches."""

    def close(self) -> None:
        """Write what is left, and let others in."""


@contextlib.contextmanager
def failing(place: object) -> Iterator[None]:
    """What a store raises, in one line; Qdrant Edge has no other class than Exception.

    Raises:
      InputError: for any exception.

    Example:
      >>> with failing("people"):
      ...     raise Exception("no space left")
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: the gallery people cannot be used: no space left
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the gallery {place} cannot be used: {error}") from error


def pieces(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Items as many at a time as one request takes.

    Example:
      >>> [len(some) for some in pieces(range(600))]
      [256, 256, 88]
    """
    return (items[begin : begin + AT_ONCE] for begin in range(0, len(items), AT_ONCE))


def lists(vectors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Vectors as both stores take them.

    Example:
      >>> lists({"row": np.zeros(2)})
      {'row': [0.0, 0.0]}
    """
    return {name: vector.tolist() for name, vector in vectors.items()}
