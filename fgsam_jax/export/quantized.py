"""ONNX in 8-bit integers, by onnxruntime's quantiser."""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fgsam_jax.data.datasets.image_files import images_below
from fgsam_jax.errors import InputError
from fgsam_jax.export import files
from fgsam_jax.export.trained import Trained
from fgsam_jax.retrieval.pictures import sized

_MOST = 256  # images that ranges are taken from


def write(model: Trained, target: Path, crops: Path) -> int:
    """Write a .onnx with its convolutions in int8; pooling, norms and heads stay float32.

    Weights have a scale for each channel. The range of what enters a convolution is the mean of the
    crops' own ranges: that of all crops together would follow the one with the largest value.

    Args:
      model: to export.
      target: the .onnx.
      crops: a folder of images like those to come; 256 of it are used, evenly spaced.

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
            ready,
            small,
            _Reader(rows),
            per_channel=True,
            op_types_to_quantize=["Conv"],
            extra_options={"CalibMovingAverage": True},
        )
        made = onnx.load(small)
    # The quantiser adds a word of its own, for itself.
    about = model.about() | {"int8_images": len(chosen)}
    onnx.helper.set_model_props(made, {key: json.dumps(x) for key, x in about.items()})
    files.store(target, made.SerializeToString())
    return len(chosen)


class _Reader:
    """Gives the quantiser the images one by one: it takes the mean over its batches' ranges."""

    def __init__(self, rows: Any):
        self._images = ({"images": rows[k : k + 1]} for k in range(len(rows)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._images, None)
