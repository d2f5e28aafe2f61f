"""Whether an exported file gives what the model gives."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fgsam_jax.errors import InputError
from fgsam_jax.export import files
from fgsam_jax.export.trained import Trained, trained
from fgsam_jax.retrieval.pictures import sized

BATCHES = (1, 3, 8)


def check(file: str | Path, images: Any, workdir: str | Path) -> dict[str, dict[str, float]]:
    """Compare a file's outputs with those of the checkpoint that it was exported from.

    Args:
      file: a .onnx or .stablehlo of tools/export.py.
      images: as `Embedder.embed` takes them; the first 12 are used, fewer are repeated, in batches
        of 1, 3 and 8.
      workdir: of the run.

    Returns:
      By runtime and output, the largest absolute difference. Of float32 on a CPU 1e-6 is usual for
      descriptors, which have length 1.

    Raises:
      InputError: the file is none of this run's, its checkpoint is gone, or there are no images.

    Example:
      >>> fgsam_jax.export.check("market.onnx", ["a.jpg", "b.jpg"], "runs/market")
      ... # doctest: +SKIP
      {'onnxruntime': {'descriptor': 2.1e-07, 'plenary': 1.8e-07, ...}, 'openvino': {...}}
    """
    path = Path(file)
    model = exported_from(path, workdir)
    with ThreadPoolExecutor() as pool:
        rows = sized(images, model.size[::-1], pool)
        if not len(rows):
            raise InputError("there are no images to compare on")
        rows = np.asarray(rows[: sum(BATCHES)])
    return differences(path, model, rows)


def exported_from(path: Path, workdir: str | Path) -> Trained:
    """The model that a file was exported from. Raises InputError: the run has it no more."""
    about = files.about(path)
    of_file = {key: about[key] for key in ("phase", "step", "config_sha256")}
    for which in ("last", "best"):
        model = trained(workdir, about["phase"], which)
        if all(model.about()[key] == value for key, value in of_file.items()):
            return model
    raise InputError(
        f"{path} was exported from step {about['step']} of the phase {about['phase']}, and "
        f"{workdir} holds another run or another step: export it again"
    )


def differences(path: Path, model: Trained, images: np.ndarray) -> dict[str, dict[str, float]]:
    """By runtime and output, the largest absolute difference to the model in JAX.

    Args:
      path: of the file.
      model: what it was exported from.
      images: uint8 [n, height, width, 3], repeated to 12.
    """
    images = np.resize(images, (sum(BATCHES), *images.shape[1:]))
    # The number of images changes no more than rounding, and compiling takes long.
    expected = jax.device_get(jax.jit(model.outputs())(images))
    found: dict[str, dict[str, float]] = {}
    for name, run in files.runtimes(path).items():
        ends = np.cumsum(BATCHES)
        batches = [run(images[end - size : end]) for end, size in zip(ends, BATCHES, strict=True)]
        found[name] = {
            output: float(np.abs(np.concatenate([x[output] for x in batches]) - value).max())
            for output, value in expected.items()
        }
    return found
