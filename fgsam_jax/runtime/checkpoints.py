"""The checkpoints of one phase in its folder: which are there, which are whole, which stay."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from fgsam_jax.errors import InputError
from fgsam_jax.runtime import digests, distributed
from fgsam_jax.runtime.files import read_json
from fgsam_jax.runtime.output import say
from fgsam_jax.runtime.trees import read_trees, write_trees
from fgsam_jax.version import versions

Found = TypeVar("Found")

_INFO, _METRICS, _METRIC = "info/metadata", "metrics/metrics", "map"
# A folder being written or removed has another name than a step, so that it is never read.
_WRITING, _REMOVED, _BROKEN = ".writing", ".removed", ".broken"


class Checkpoints:
    """The checkpoints of one phase: the last `keep` and the best by mAP.

    Each is a folder of the step's name with the digests of its files; whatever else lies beside
    them is left alone. A thread writes while training goes on; Orbax's own would first copy and
    plan for longer. Of several processes the first writes and the others only read.
    """

    def __init__(self, folder: Path, *, keep: int = 2, create: bool = False):
        """Open a folder; with `create` it may be absent. Raises InputError if it is."""
        self.folder = Path(folder).resolve()
        if create:
            self.folder.mkdir(parents=True, exist_ok=True)
        if not self.folder.is_dir():
            raise InputError(f"there is no checkpoint at {self.folder}: train first")
        self._keep, self._writes = keep, create and distributed.first()
        self._maps: dict[int, float] = {}
        self._thread = ThreadPoolExecutor(1)
        self._write: Future | None = None
        if self._writes:
            for path in self.folder.iterdir():
                if re.match(rf"\d+({_WRITING}|{_REMOVED}|\.orbax)", path.name):
                    shutil.rmtree(path, ignore_errors=True)  # left by a killed run

    def steps(self, which: str = "last") -> list[int]:
        """Steps of the checkpoints, those to read first in front: the last ones, or the best.

        Those that were not evaluated, or whose mAP is not whole, come after those that were.
        """
        self.wait()
        return self._steps(which)

    def _steps(self, which: str) -> list[int]:
        names = [path.name for path in self.folder.iterdir() if path.is_dir()]
        steps = sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))
        if which == "best":
            steps.sort(key=self._map)
        return steps[::-1]

    def step(self, which: str = "last") -> int | None:
        """The first of `steps`; None where there is none."""
        return next(iter(self.steps(which)), None)

    def read(
        self, work: Callable[[int], Found], which: str = "last", *, exact: bool = False
    ) -> tuple[Found, int] | None:
        """work(step) and the step, of the last or the best checkpoint; None where there is none.

        Where that one is broken the next is taken, which is said. A broken one gets another name
        where this process writes, as its step will be written again. A training may remove what
        is being read: then its newer ones are.

        Args:
          work: raises InputError for a broken checkpoint.
          which: "last" or "best".
          exact: take no other than the one asked for.

        Raises:
          InputError: none is whole.
        """
        for _ in range(20):
            broken: dict[int, InputError] = {}
            for step in self.steps(which)[: 1 if exact else None]:
                checked = digests.written(self._at(step))
                try:
                    found = work(step)
                except InputError as error:
                    if not self._at(step).is_dir():
                        break  # removed meanwhile
                    broken[step] = error
                    continue
                self._pass_over(broken, step)
                if not checked:
                    say(f"{self._at(step)} was written without digests: it could not be checked")
                return found, step
            else:
                break
        for first in broken.values():
            hint = "" if exact else f"; no other is whole: train again without {self.folder}"
            raise InputError(f"{first}{hint}")
        return None

    def _pass_over(self, broken: dict[int, InputError], step: int) -> None:
        for other, error in broken.items():
            say(f"{error}; step {step} is taken instead")
            if self._writes:
                aside = self._at(other).with_suffix(_BROKEN)
                shutil.rmtree(aside, ignore_errors=True)
                self._at(other).rename(aside)

    def save(
        self, step: int, trees: dict[str, Any], info: dict, *, map: float | None = None
    ) -> None:
        """Begin to write named trees of NumPy arrays and what they are, as a new step's checkpoint.

        The one before is waited for; `wait` must follow the last.

        Raises:
          InputError: the one before could not be written.
        """
        self.wait()
        if self._writes:
            info = {**info, "versions": versions()}
            self._write = self._thread.submit(self._save, step, trees, info, map)

    def _save(self, step: int, trees: dict[str, Any], info: dict, map: float | None) -> None:
        made = self._at(step).with_suffix(_WRITING)
        write_trees(made, trees)
        texts = {_INFO: info} | ({} if map is None else {_METRICS: {_METRIC: map}})
        for name, values in texts.items():
            (made / name).parent.mkdir()
            (made / name).write_text(json.dumps(values))
        digests.write(made)
        made.rename(self._at(step))
        self._maps[step] = -math.inf if map is None else map
        for old in set(self._steps("last")[self._keep :]) - set(self._steps("best")[:1]):
            gone = self._at(old).with_suffix(_REMOVED)
            self._at(old).rename(gone)  # whoever reads it sees it whole or not at all
            shutil.rmtree(gone)

    def wait(self) -> None:
        """Wait until the newest checkpoint is whole. Raises InputError if it cannot be written."""
        try:
            if self._write:
                self._write.result()
        except (ValueError, OSError) as error:
            cause = " ".join(str(error).split()).rpartition('": ')[2]  # after TensorStore's files
            raise InputError(
                f"no checkpoint can be written to {self.folder}: {cause}. Mend that; the "
                "same command goes on from the newest whole one"
            ) from error

    def info(self, step: int) -> dict:
        """What the checkpoint of this step says of itself. Raises InputError if it is broken."""
        return self._checked(step, ["info"], lambda folder: read_json(folder / _INFO))

    def restore(self, step: int, templates: dict[str, Any]) -> dict[str, Any]:
        """Named trees of NumPy arrays, in the form of their templates (arrays or their shapes).

        Raises:
          InputError: the checkpoint is of another model, or broken.
        """
        return self._checked(step, templates, lambda folder: read_trees(folder, templates))

    def _at(self, step: int) -> Path:
        return self.folder / str(step)

    def _checked(self, step: int, parts: Iterable[str], read: Callable[[Path], Found]) -> Found:
        folder = self._at(step)
        try:
            digests.check(folder, *parts)
            return read(folder)
        except InputError as error:
            what = f"the checkpoint {folder} is broken or of another model: {error}"
            raise InputError(what) from error

    def _map(self, step: int) -> float:
        """The mAP of a checkpoint; minus infinity where it was not evaluated or is broken."""
        if step not in self._maps:
            try:
                self._maps[step] = self._checked(step, ["metrics"], _noted_map)
            except InputError as error:
                if self._at(step).is_dir():
                    say(f"{error}; it does not count as the best")
                self._maps[step] = -math.inf
        return self._maps[step]


def _noted_map(folder: Path) -> float:
    if not (folder / _METRICS).exists():
        return -math.inf
    value = read_json(folder / _METRICS).get(_METRIC)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{_METRICS} holds no mAP")
    return value
