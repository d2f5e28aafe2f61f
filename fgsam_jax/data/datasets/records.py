"""The records of a data set on disk, written when a source is first opened.

TensorFlow Datasets writes them as ArrayRecord files, which needs no TensorFlow.
"""

import contextlib
import errno
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging
from filelock import FileLock

from fgsam_jax.data.datasets.builder import LocalBuilder, SourceConfig
from fgsam_jax.data.datasets.source import fingerprint, remember
from fgsam_jax.errors import InputError

# What a user can mend when a folder cannot be written.
_FULL_OR_FORBIDDEN = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST,
)  # fmt: skip
_SEAL = "whole.json"
_UNREAD = "unread"  # in place of the fingerprint of files that nobody has read


def open_builder(
    builder_class: type[LocalBuilder],
    source: str | Path,
    records: str | Path,
    attributes: str | Path | None = None,
    joints: str | Path | None = None,
    *,
    write: bool = True,
    outside: bool = False,
) -> LocalBuilder:
    """The builder of a source folder, its records written if they are not there yet.

    With `write=False` nothing is read or written but names and annotations: such a builder tells
    what the records would be made from. A CSV may name images `outside` of its own folder if asked.

    Records live in `<records>/<set>/<fingerprint>/<version>`: another or a changed source never
    reuses them. An interrupted build leaves nothing under that name, and what it did leave goes
    with the next one. Records that lack a file, or have one of another size, are made anew. Of
    several processes one builds and the others wait. Nothing is written where all is there.

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
    name, memory = _UNREAD, None
    if write:
        known = records / builder_class.name / "known"
        name, memory = fingerprint(source, files, beside, known=known)

    def make() -> LocalBuilder:
        config = SourceConfig(
            name=name, source=source, attributes=found, joints=points, outside=outside
        )
        return builder_class(config=config, data_dir=records)

    home = records / builder_class.name / name
    folder = home / str(builder_class.VERSION)
    with _quiet(), _unnamed_owners():
        if memory is None:
            return make()
        if _is_whole(folder):
            remember(name, memory)
            return make()
        try:
            home.mkdir(parents=True, exist_ok=True)
            with FileLock(home.parent / ".building.lock"):
                if not _is_whole(folder):
                    _clear(home)
                    with contextlib.redirect_stdout(io.StringIO()):
                        make().download_and_prepare(file_format="array_record")
                    _seal(folder)
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
        remember(name, memory)
        return make()


def _seal(folder: Path) -> None:
    """Write down what whole records consist of: the sizes of shards, the text of descriptions."""
    parts = {path.name: _part(path) for path in sorted(folder.iterdir())}
    (folder / _SEAL).write_text(json.dumps(parts))


def _is_whole(folder: Path) -> bool:
    """Whether records are as `_seal` has left them; the content of shards is checked when read."""
    try:
        parts = json.loads((folder / _SEAL).read_text())
        return all(_part(folder / name) == part for name, part in parts.items())
    except (OSError, ValueError, AttributeError):
        return False


def _part(path: Path) -> int | str:
    return path.stat().st_size if "array_record" in path.name else path.read_text()


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
    """Remove what killed builds have left, also of other states of the set, and what is not whole.

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
