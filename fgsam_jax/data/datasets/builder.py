"""What every data set's builder shares: its source, its fingerprint and the records on disk.

Records are written by TensorFlow Datasets as ArrayRecord files, which needs no TensorFlow. TFDS
is imported here and in the builders only; `fgsam_jax.data` imports them when a table is opened.
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from filelock import FileLock

from fgsam_jax.data.images import resized
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute

# What a user can mend when a folder cannot be written.
FULL_OR_FORBIDDEN = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR,
)  # fmt: skip


@dataclass(eq=False)
class SourceConfig(tfds.core.BuilderConfig):
    """Where a builder reads from; its name holds the fingerprint of what is read.

    Attributes:
      source: the unpacked data set.
      attributes: the attribute file, or None for a set without labelled attributes.
      joints: the file or folder of joints for the crops of a set, or None.
    """

    source: Path = Path()
    attributes: Path | None = None
    joints: Path | None = None


class LocalInfo(tfds.core.DatasetInfo):
    """Dataset info that never looks for a public copy of the set."""

    def initialize_from_bucket(self) -> None:
        """TFDS would leave an empty folder in the temporary directory at each call."""


class LocalBuilder(tfds.core.ShardBasedBuilder):
    """A builder over a folder that the user has unpacked.

    A subclass gives `VERSION`, the data set's `features` and `files`, and TFDS's
    `_shard_iterators_per_split`: only a shard at a time is held in memory. TFDS's other way
    collects a whole split, and beyond 1 GB does so by TensorFlow.
    """

    TITLE: str
    # Whether `view` draws another view each time, so that a training set cannot be kept.
    VIEWS_DIFFER: ClassVar[bool] = False
    # Nothing is downloaded; TFDS would look for a checksum file with a package we do not need.
    url_infos = None
    builder_config: SourceConfig

    @staticmethod
    def find_attributes(source: Path, attributes: Path | None) -> Path | None:
        """The attribute file to use: the one given, or one found in its usual place, or None.

        Raises:
          InputError: one is given to a set that takes none.
        """
        if attributes is not None:
            raise InputError(
                f"this set takes no attribute file, got {attributes}: leave config.data.attributes "
                f"empty"
            )
        return None

    @staticmethod
    def files(source: Path) -> list[Path]:
        """Every file that the records are made from, sorted; InputError if the layout is wrong."""
        raise NotImplementedError

    def features(self) -> dict[str, Any]:
        """The features of one example."""
        raise NotImplementedError

    def images(self) -> dict[str, list[Path]]:
        """The image files that the records of each split are made from, missing ones too."""
        raise NotImplementedError

    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes that an example may be labelled with."""
        return ()

    def view(
        self, example: dict[str, Any], height: int, width: int, random: Any = None
    ) -> dict[str, np.ndarray]:
        """What a model sees of a record.

        Args:
          example: of the records, image and mask still encoded.
          height, width: of the view in pixels.
          random: a NumPy generator, for the sets that are seen another way each time.

        Returns:
          "image" uint8 [height, width, 3] and, for a set with joints, "joints" float32
          [people, 18, 3] in pixels of the view and "mask" float32 [height / 8, width / 8].
        """
        return resized(example, height, width)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise NotImplementedError("the records are written shard by shard")

    def _generate_examples(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        raise NotImplementedError("the records are written shard by shard")

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
    joints: str | Path | None = None,
    *,
    write: bool = True,
) -> LocalBuilder:
    """The builder of a source folder, its records written if they are not there yet.

    With `write=False` nothing is read or written but names and annotations: such a builder tells
    what the records would be made from.

    Records live in `<records>/<set>/<fingerprint>/<version>`: another or a changed source never
    reuses them. An interrupted build leaves nothing under that name, and what it did leave goes
    with the next one. Of several processes one builds and the others wait.

    Raises:
      InputError: the source is not in the set's layout, holds an unusable file, or `records`
        cannot be written.
    """
    source, records = Path(source), Path(records)
    given = None if attributes is None else Path(attributes)
    points = None if joints is None else Path(joints)
    files = _check_given(builder_class, source, given, points)
    found = builder_class.find_attributes(source, given)
    beside = [path for path in (found, points) if path is not None]
    name = fingerprint(source, files, beside)

    def make() -> LocalBuilder:
        config = SourceConfig(name=name, source=source, attributes=found, joints=points)
        return builder_class(config=config, data_dir=records)

    with _quiet():
        builder = make()
        if not write or builder.is_prepared():
            return builder
        home = Path(builder.data_dir).parent
        try:
            home.mkdir(parents=True, exist_ok=True)
            with FileLock(home.parent / ".building.lock"):
                builder = make()
                if not builder.is_prepared():
                    _clear(home)
                    with contextlib.redirect_stdout(io.StringIO()):
                        builder.download_and_prepare(file_format="array_record")
        except (OSError, RuntimeError) as error:
            # ArrayRecord's writer tells of a full disk in the words of its own errors alone.
            full = "No space left" in str(error)
            if full or (isinstance(error, OSError) and error.errno in FULL_OR_FORBIDDEN):
                raise InputError(
                    f"The records of {builder_class.TITLE} could not be written to {records}: "
                    f"{'no space is left on the disk' if full else error}. Free some space or name "
                    f"another folder."
                ) from error
            raise
        return builder


def _check_given(
    builder_class: type[LocalBuilder], source: Path, attributes: Path | None, joints: Path | None
) -> list[Path]:
    """The files of the source. InputError if something is not there; all of it is told together."""
    problems, files = [], []
    try:
        files = builder_class.files(source)
    except InputError as error:
        problems.append(str(error))
    if attributes is not None and not attributes.is_file():
        problems.append(
            f"The attribute file {attributes} was not found. Correct the path, or make it empty."
        )
    if joints is not None and not joints.exists():
        problems.append(f"The joints {joints} were not found. Correct the path.")
    if problems:
        raise InputError(" ".join(problems))
    return files


def _clear(home: Path) -> None:
    """Remove what killed builds have left, also of other states of the set, and other versions.

    The caller holds the lock of the set.
    """
    for path in (*home.parent.glob("*/incomplete.*"), *home.iterdir()):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def fingerprint(source: Path, files: Iterable[Path], beside: Iterable[Path] = ()) -> str:
    """A short name for the state of the files: relative names, sizes and times of change.

    Names are relative to `source`, so a moved folder keeps its records; the attributes and joints
    `beside` it, files or folders of files, count by their content.

    Raises:
      InputError: a file cannot be read, or its name is not Unicode.
    """
    digest = hashlib.sha256()
    inside = os.path.join(source, "")
    for path in files:
        place = str(path).removeprefix(inside)
        try:
            stat = path.stat()
            digest.update(f"{place}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except (OSError, UnicodeEncodeError) as error:
            raise InputError(
                f"{str(path)!r} cannot be read ({error}): rename or replace it."
            ) from None
    for given in beside:
        several = sorted(p for p in given.iterdir() if p.is_file()) if given.is_dir() else [given]
        for path in several:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def check_layout(title: str, source: Path, expected: list[str]) -> None:
    """Whether a source holds the folders and files that its set is published in.

    Raises:
      InputError: something is missing; the message says what is there, and where the set seems to
        be if that is one level deeper or higher.
    """

    def missing(folder: Path) -> list[str]:
        # A name with a dot is a file's, another a folder's.
        return [
            name
            for name in expected
            if not ((folder / name).is_file() if "." in name else (folder / name).is_dir())
        ]

    lacking = missing(source)
    if not lacking:
        return
    if not source.is_dir():
        found = "that is a file" if source.exists() else "there is no such folder"
        hint = ""
    else:
        here = sorted(path.name for path in source.iterdir())
        found = f"found {', '.join(here[:6]) or 'an empty folder'}{', ...' * (len(here) > 6)}"
        hint = ""
        inside = [path for path in sorted(source.iterdir()) if path.is_dir() and not missing(path)]
        if inside:
            hint = f" It seems to be one level deeper, at {inside[0]}."
        elif not missing(source.resolve().parent):
            hint = f" It seems to be one level higher, at {source.resolve().parent}."
        elif len(lacking) < len(expected):
            hint = f" It lacks {', '.join(lacking)}."
    raise InputError(
        f"{title} was not found at {source}: expected {', '.join(expected[:-1])} and "
        f"{expected[-1]} in it, {found}.{hint} Unpack the data set there or correct "
        f"its source in the configuration."
    )


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
