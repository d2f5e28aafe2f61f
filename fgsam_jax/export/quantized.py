"""ONNX in 8-bit integers, by onnxruntime's quantiser."""

import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fgsam_jax.data.datasets.image_files import images_below
from fgsam_jax.errors import InputError
from fgsam_jax.export import files
from fgsam_jax.retrieval.pictures import sized

_MOST, _BATCH = 512, 16  # images that ranges are taken from, and in one call


def quantize(path: Path, target: Path, crops: Path) -> int:
    """Convolutions of a .onnx in int8; all else, pooling, norms and heads, stays float32.

    Weights have a scale for each channel. The ranges between layers are those of the crops.

    Args:
      path: of a .onnx of tools/export.py.
      target: the .onnx to write.
      crops: a folder of images like those to come; 512 of it are used, evenly spaced.

    Returns:
      How many images were used.

    Raises:
      InputError: the folder has no images.
    """
    from onnxruntime import quantization

    about = files.about(path)
    found = list(images_below(crops)) if crops.is_dir() else []
    if not found:
        raise InputError(f"{crops} holds no images to calibrate on: name a folder of crops")
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(_MOST, len(found))).astype(int)]
    with ThreadPoolExecutor() as pool, tempfile.TemporaryDirectory() as folder:
        rows = sized(chosen, (about["width"], about["height"]), pool)
        ready = Path(folder) / "ready.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantization.shape_inference.quant_pre_process(path, ready, skip_symbolic_shape=True)
            quantization.quantize_static(
                ready,
                target,
                _Reader(rows),
                per_channel=True,
                op_types_to_quantize=["Conv"],
            )
    return len(chosen)


class _Reader:
    """Gives the quantiser batches until there are no more."""

    def __init__(self, rows: Any):
        self._batches = _batches(rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def _batches(rows: Any) -> Iterator[dict[str, np.ndarray]]:
    for first in range(0, len(rows), _BATCH):
        yield {"images": np.asarray(rows[first : first + _BATCH])}
