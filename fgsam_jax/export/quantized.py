"""ONNX in 8-bit integers, by onnxruntime's quantiser."""

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fgsam_jax.data.datasets.image_files import images_below
from fgsam_jax.errors import InputError
from fgsam_jax.export import files
from fgsam_jax.export.trained import Trained
from fgsam_jax.retrieval.pictures import sized

_MOST, _BATCH = 512, 16  # images that ranges are taken from, and in one call


def write(model: Trained, target: Path, crops: Path) -> int:
    """Write a .onnx with its convolutions in int8; pooling, norms and heads stay float32.

    Weights have a scale for each channel. The ranges of what enters a convolution are those that
    the crops give.

    Args:
      model: to export.
      target: the .onnx.
      crops: a folder of images like those to come; 512 of it are used, evenly spaced.

    Returns:
      How many images were used.

    Raises:
      InputError: the folder has no images, or the file cannot be written.
    """
    import onnx
    from onnxruntime import quantization

    found = list(images_below(crops)) if crops.is_dir() else []
    if not found:
        raise InputError(f"{crops} holds no images to calibrate on: name a folder of crops")
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(_MOST, len(found))).astype(int)]
    with ThreadPoolExecutor() as pool, tempfile.TemporaryDirectory() as folder:
        exact, ready, small = (
            Path(folder) / f"{name}.onnx" for name in ("exact", "ready", "small")
        )
        files.write(model, exact)
        rows = sized(chosen, model.size[::-1], pool)
        quantization.shape_inference.quant_pre_process(exact, ready, skip_symbolic_shape=True)
        quantization.quantize_static(
            ready, small, _Reader(rows), per_channel=True, op_types_to_quantize=["Conv"]
        )
        made = onnx.load(small)
    # The quantiser adds a word of its own, for itself.
    about = model.about() | {"int8_images": len(chosen)}
    onnx.helper.set_model_props(made, {key: json.dumps(x) for key, x in about.items()})
    files.store(target, made.SerializeToString())
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
