"""Named trees of arrays in a folder, by Orbax; the only file that knows Orbax."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from fgsam_jax.errors import InputError

_ONE_AT_A_TIME = threading.RLock()  # what `_quiet` hides is hidden from all threads


def write_trees(folder: Path, trees: dict[str, Any]) -> None:
    """Write named trees of NumPy arrays into a new folder. What Orbax raises is passed on."""
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    with _quiet():
        _orbax().save(folder, args=ocp.args.Composite(**items))


def read_trees(folder: Path, templates: dict[str, Any]) -> dict[str, Any]:
    """Named trees of NumPy arrays, in the form of their templates (arrays or their shapes).

    Raises:
      InputError: they are of other shapes, damaged, or hold values that are no numbers.
    """
    items = {
        name: ocp.args.StandardRestore(
            jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
        )
        for name, tree in templates.items()
    }
    try:
        with _quiet():
            found = _orbax().restore(folder, args=ocp.args.Composite(**items))
    except Exception as error:  # of what a damaged folder makes Orbax raise there is no list
        raise InputError(f"{type(error).__name__}: {error}") from error
    trees = {name: jax.device_get(found[name]) for name in templates}
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        if jax.numpy.issubdtype(leaf.dtype, np.inexact) and not np.isfinite(leaf).all():
            raise InputError(f"{jax.tree_util.keystr(path)} holds values that are no numbers")
    return trees


def _orbax() -> ocp.Checkpointer:
    """Orbax is told of no other process.

    Its barriers are collectives, which must not come between those of the steps, and the others
    would wait at them for a first that cannot write.
    """
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone)
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what Orbax warns of; what goes wrong it raises too.

    Where one array fails, TensorStore tells of each other one to a loop that Orbax has closed by
    then, and Python would print 300 lines of "Event loop is closed" beside the error.
    """
    with _ONE_AT_A_TIME:
        yield from _hidden()


def _hidden() -> Iterator[None]:
    verbosity, shown = logging.get_verbosity(), sys.unraisablehook

    def hook(raised: Any) -> None:
        if str(raised.exc_value) != "Event loop is closed":
            shown(raised)

    logging.set_verbosity(logging.FATAL)
    sys.unraisablehook = hook
    try:
        yield
    except Exception:
        time.sleep(1)  # the other arrays are still being told of
        raise
    finally:
        logging.set_verbosity(verbosity)
        sys.unraisablehook = shown
