"""Variables of MATLAB files, read in a process of its own.

The readers are C: a broken file may crash them, have them loop, or ask for all memory.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fgsam_jax.runtime.files import regular_file

_SECONDS = 300.0


def read_struct(path: Path, name: str) -> Any:
    """A struct, {field: list of numbers or texts, or a struct}.

    Raises:
      InputError: the file is no regular one.
      ValueError: it has no such struct, or one that holds something else.
    """
    return _read("struct", path, name)


def read_matrix(path: Path, name: str) -> list[list[float]]:
    """A matrix of finite numbers of a file of version 7.3, transposed: a list of its columns.

    Raises:
      InputError: the file is no regular one.
      ValueError: it has no such matrix.
    """
    return _read("matrix", path, name)


def _read(kind: str, path: Path, name: str) -> Any:
    child, file = str(Path(__file__).with_name("matlab_child.py")), str(regular_file(path))
    command = [sys.executable, "-P", "-W", "ignore", child, kind, file, name]
    # Each thread of OpenBLAS would reserve a part of the memory that the child may have.
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, env=env,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it took more than {_SECONDS:.0f} seconds") from None
    if done.returncode < 0:
        raise ValueError("its reader crashed: the file is broken")
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip())
    return json.loads(done.stdout)
