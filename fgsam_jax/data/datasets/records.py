"""The records of a data set on disk, written when a source is first opened.

TensorFlow Datasets writes them as ArrayRecord files, which needs no TensorFlow.
"""

import contextlib
import errno
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging
from filelock import FileLock

from fgsam_jax.data.datasets.builder import LocalBuilder, SourceConfig
from fgsam_jax.data.datasets.source import fingerprint
from fgsam_jax.errors import InputError

# What a user can mend when a folder cannot be written.
_FULL_OR_FORBIDDEN = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR,
)  # fmt: skip


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

    with _quiet(), _unnamed_owners():
        builder = make()
        if not write:
            return builder
        if builder.is_prepared():
            return make()  # another process may have finished the records since this was made
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
            if full or (isinstance(error, OSError) and error.errno in _FULL_OR_FORBIDDEN):
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


@contextlib.contextmanager
def _unnamed_owners() -> Iterator[None]:
    """Answers for a user id without a name, as in a container, with the number.

    etils, by which TFDS asks for the size of a file, also asks for its owner's name.
    """
    try:
        import grp
        import pwd
    except ImportError:  # Windows
        yield
        return
    user, group = pwd.getpwuid, grp.getgrgid

    def named_user(uid: int) -> pwd.struct_passwd:
        with contextlib.suppress(KeyError):
            return user(uid)
        return pwd.struct_passwd((str(uid), "", uid, -1, "", "", ""))

    def named_group(id: int) -> grp.struct_group:
        with contextlib.suppress(KeyError):
            return group(id)
        return grp.struct_group((str(id), "", id, []))

    pwd.getpwuid, grp.getgrgid = named_user, named_group
    try:
        yield
    finally:
        pwd.getpwuid, grp.getgrgid = user, group
