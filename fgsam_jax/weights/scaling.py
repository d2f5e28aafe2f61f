"""Where a source computes the same in other numbers: Caffe's statistics and VGG's input."""

import numpy as np

from fgsam_jax.errors import InputError
from fgsam_jax.models.resnet import IMAGENET_MEAN, IMAGENET_STD


def whole_statistics(blobs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Statistics of Caffe's batch normalisations as a mean and a variance.

    Caffe keeps sums (`bn*_0`, `bn*_1`) and the factor to divide both by (`bn*_2`). A bias of the
    convolution before (`res*_1`, `conv1_1`) shifts what is normalised, so it is taken off the
    mean; with batch statistics it has no effect.

    Raises:
      InputError: a factor is missing or not above 0, or a bias does not fit.
    """
    blobs = dict(blobs)
    for mean in [name for name in blobs if name.startswith("bn") and name.endswith("_0")]:
        layer = mean.removesuffix("_0")
        factor = blobs.pop(f"{layer}_2", None)
        if factor is None or factor.size != 1 or not factor.reshape(()) > 0:
            raise InputError(f"{layer}_2 should be one number above 0, by which {layer} is divided")
        divisor = factor.reshape(())
        for name in (mean, f"{layer}_1"):
            if name in blobs:
                blobs[name] = blobs[name] / divisor
        convolution = "conv1" if layer == "bn_conv1" else "res" + layer.removeprefix("bn")
        bias = blobs.pop(f"{convolution}_1", None)
        if bias is not None:
            if bias.shape != blobs[mean].shape:
                raise InputError(
                    f"{convolution}_1 has the shape {bias.shape}, needed {blobs[mean].shape}"
                )
            blobs[mean] = blobs[mean] - bias
    return blobs


def to_openpose_input(weights: dict[tuple[str, ...], np.ndarray]) -> dict:
    """torchvision's VGG-19 for the pose net's input.

    VGG sees (rgb / 255 - mean) / std and the pose net bgr / 256 - 1/2, a linear function of it,
    which goes into the first layer. Only the zeros that pad the image mean another colour: grey
    instead of the mean colour, so that the outermost cells differ.
    """
    kernel_path, bias_path = (("params", "conv1_1", leaf) for leaf in ("kernel", "bias"))
    if not {kernel_path, bias_path} <= set(weights):
        raise InputError("the first layer of VGG-19 is missing: features.0.weight and .bias")
    kernel = weights[kernel_path].astype(np.float64)
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    slope, offset = 256 / 255 / std, (128 / 255 - mean) / std
    bias = weights[bias_path] + np.einsum("hwio,i->o", kernel, offset)
    scaled = (kernel * slope[:, None])[:, :, ::-1]
    return weights | {
        kernel_path: np.ascontiguousarray(scaled, np.float32),
        bias_path: bias.astype(np.float32),
    }
