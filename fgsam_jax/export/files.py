"""Exported files: written, read, and run in the programs that are installed."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fgsam_jax.errors import InputError
from fgsam_jax.export.trained import Trained
from fgsam_jax.runtime.files import GIB, read_bytes

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
ONNX, STABLEHLO = ".onnx", ".stablehlo"
_LARGEST = 2 * GIB  # of ONNX in one file


def check_path(path: Path) -> None:
    """Refuse a name of no format, and a format whose packages are missing. Raises InputError."""
    if path.suffix not in (ONNX, STABLEHLO):
        raise InputError(f"a model is exported to a {ONNX} or a {STABLEHLO}, got {path}")
    try:
        import flatbuffers  # noqa: F401
        import onnxruntime  # noqa: F401
        from onnx import checker  # noqa: F401
    except ImportError as error:
        raise InputError(f'{error}: pip install "fgsam-jax[export]"') from None


def write(model: Trained, path: Path) -> None:
    """Write a model to a .onnx or a .stablehlo.

    Raises:
      InputError: another name, or the file cannot be written.
    """
    check_path(path)
    if path.suffix == ONNX:
        from fgsam_jax.export.onnx_model import to_onnx

        content = to_onnx(model)
    else:
        from fgsam_jax.export.stablehlo import to_stablehlo

        content = to_stablehlo(model)
    store(path, content)


def store(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises InputError: it cannot be written."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error}") from None


def about(path: Path) -> dict[str, Any]:
    """What a file says of itself, see `Trained.about`. Raises InputError: it is no such file."""
    check_path(path)
    content = read_bytes(path, limit=_LARGEST)
    try:
        if path.suffix == ONNX:
            import onnx

            stored = onnx.load_from_string(content).metadata_props
            found = {x.key: json.loads(x.value) for x in stored}
        else:
            import jax

            found = json.loads(jax.export.deserialize(bytearray(content)).fun_name)
        if found["made_by"] == "fgsam_jax":
            return found
    # What reads a damaged file raises what it likes.
    except Exception as error:
        raise InputError(f"{path} is damaged, or not of tools/export.py: {error}") from None
    raise InputError(f"{path} is not of tools/export.py")


def runtimes(path: Path, threads: int | None = None) -> dict[str, Run]:
    """The programs that can run a file, by name: functions from images to outputs by name.

    A .onnx is run by "onnxruntime" and, where it is installed, "openvino", both on the CPU and in
    float32; a .stablehlo by "jax".

    Args:
      path: of the file.
      threads: that a program uses; None: all cores.

    Example:
      >>> run = runtimes(Path("model.onnx"))["onnxruntime"]  # doctest: +SKIP
      >>> run(images)["descriptor"].shape  # doctest: +SKIP
      (8, 2048)
    """
    check_path(path)
    if path.suffix == STABLEHLO:
        import jax

        call = jax.jit(jax.export.deserialize(bytearray(read_bytes(path))).call)
        return {"jax": lambda images: jax.device_get(call(images))}
    found = {"onnxruntime": _onnxruntime(path, threads)}
    if importlib.util.find_spec("openvino"):
        found["openvino"] = _openvino(path, threads)
    return found


def _onnxruntime(path: Path, threads: int | None) -> Run:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or 0
    # Threads that wait for work would otherwise keep the cores from other programs.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True))


def _openvino(path: Path, threads: int | None) -> Run:
    # It would tell its makers of every model it reads, from a forked process.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    core = openvino.Core()
    how: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    how |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    compiled = core.compile_model(core.read_model(path), "CPU", how)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = compiled(images)
        # Outputs of equal value are one, which has several names.
        return {name: value for x, value in found.items() for name in x.get_names()}

    return run
