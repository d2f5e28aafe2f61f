"""What every data set's builder shares: its source, its fingerprint and the records on disk.

Records are written by TensorFlow Datasets as ArrayRecord files, which needs no TensorFlow. TFDS
is imported here and in the builders only; `fgsam_jax.data` imports them when a table is opened.
"""

import contextlib
import errno
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from fgsam_jax.errors import InputError

# What a user can mend when a folder cannot be written.
FULL_OR_FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(eq=False)
class SourceConfig(tfds.core.BuilderConfig):
    """Where a builder reads from; its name holds the fingerprint of what is read.

    Attributes:
      source: the unpacked data set.
      attributes: the attribute file, or None for a set without labelled attributes.
    """

    source: Path = Path()
    attributes: Path | None = None


class LocalInfo(tfds.core.DatasetInfo):
    """Dataset info that never looks for a public copy of the set."""

    def initialize_from_bucket(self) -> None:
        """TFDS would leave an empty folder in the temporary directory at each call."""


class LocalBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder over a folder that the user has unpacked.

    A subclass gives `VERSION`, the data set's `features` and `files`, and TFDS's two generators.
    """

    TITLE: str
    # Nothing is downloaded; TFDS would look for a checksum file with a package we do not need.
    url_infos = None
    builder_config: SourceConfig

    @staticmethod
    def find_attributes(source: Path, attributes: Path | None) -> Path | None:
        """The attribute file to use: the one given, or one found in its usual place, or None."""
        return attributes

    @staticmethod
    def files(source: Path) -> list[Path]:
        """Every file that the records are made from, sorted; InputError if the layout is wrong."""
        raise NotImplementedError

    def features(self) -> dict[str, Any]:
        """The features of one example."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        # File-name order keeps the rows of a table in the order that other tools use.
        return LocalInfo(
            builder=self,
            description=self.TITLE,
            features=tfds.features.FeaturesDict(self.features()),
            disable_shuffling=True,
        )


def open_builder(
    builder_class: type[LocalBuilder],
    source: str | Path,
    records: str | Path,
    attributes: str | Path | None = None,
) -> LocalBuilder:
    """The builder of a source folder, its records written if they are not there yet.

    Records live in `<records>/<set>/<fingerprint>/<version>`: another or a changed source never
    reuses them. An interrupted build leaves nothing under that name.

    Raises:
      InputError: the source is not in the set's layout, holds an unusable file, or `records`
        cannot be written.
    """
    source, records = Path(source), Path(records)
    given = None if attributes is None else Path(attributes)
    if given is not None and not given.is_file():
        raise InputError(
            f"The attribute file {given} was not found. Correct the path, or leave it out to go "
            f"without attributes."
        )
    found = builder_class.find_attributes(source, given)
    files = builder_class.files(source)
    name = fingerprint(source, files, found)

    def make() -> LocalBuilder:
        config = SourceConfig(name=name, source=source, attributes=found)
        return builder_class(config=config, data_dir=records)

    with _quiet():
        builder = make()
        if builder.is_prepared():
            return builder
        try:
            records.mkdir(parents=True, exist_ok=True)
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(file_format="array_record")
        except OSError as error:
            # Another process may have finished the same records a moment earlier.
            builder = make()
            if builder.is_prepared():
                return builder
            if error.errno in FULL_OR_FORBIDDEN:
                raise InputError(
                    f"The records of {builder_class.TITLE} could not be written to {records}: "
                    f"{error}. Free some space or name another folder."
                ) from error
            raise
        return builder


def fingerprint(source: Path, files: Iterable[Path], attributes: Path | None = None) -> str:
    """A short name for the state of the files: relative names, sizes and times of change.

    Names are relative to `source`, so a moved folder keeps its records.
    """
    digest = hashlib.sha256()
    for path in files:
        stat = path.stat()
        digest.update(f"{path.relative_to(source)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    if attributes is not None:
        digest.update(hashlib.sha256(attributes.read_bytes()).digest())
    return digest.hexdigest()[:16]


def read_image(path: Path) -> tuple[bytes, Image.Image]:
    """The bytes of an image file and the image they decode to, RGB; InputError if they do not."""
    encoded = path.read_bytes()
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return encoded, image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} cannot be decoded as an image ({error}). Unpack the data set again."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides TFDS's log lines and progress bars; builders show one bar of their own."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()
