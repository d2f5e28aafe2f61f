"""Writes the files that weights are published in, for the tests of their conversion."""

import re
import struct

import numpy as np
import torch
from safetensors.torch import save_file


def state(model, before=""):
    """A copy of a model's state dict with something before every name."""
    return {before + name: value.clone() for name, value in model.state_dict().items()}


def pth(path, held):
    torch.save(held, path)
    return path


def safetensors(path, held):
    save_file(held, path, metadata={"format": "pt"})
    return path


def caffe_blobs(model):
    """A ResNet of the form "caffe" as He et al. published it: (layer, blobs), NumPy, OIHW.

    Statistics are sums with a factor beside them.
    """
    held = {name: value.numpy() for name, value in model.state_dict().items()}
    factor = np.array([999.982], np.float32)
    layers = []

    def add(convolution, norm, names):
        kernel = [held[f"{convolution}.{leaf}"] for leaf in ("weight", "bias")
                  if f"{convolution}.{leaf}" in held]  # fmt: skip
        sums = [held[f"{norm}.running_{leaf}"] * factor for leaf in ("mean", "var")]
        layers.append((names[0], kernel))
        layers.append((names[1], [*sums, factor]))
        layers.append((names[2], [held[f"{norm}.weight"], held[f"{norm}.bias"]]))

    add("conv1", "bn1", ("conv1", "bn_conv1", "scale_conv1"))
    blocks = sorted({m[0] for n in held if (m := re.match(r"layer(\d)\.(\d+)", n))})
    for block in blocks:
        stage, index = (int(part) for part in block.removeprefix("layer").split("."))
        if model.depth == 50 or stage in (1, 4):
            place = f"{stage + 1}{'abcdef'[index]}"
        else:
            place = f"{stage + 1}a" if index == 0 else f"{stage + 1}b{index}"
        pairs = [(f"conv{i}", f"bn{i}", f"branch2{'abc'[i - 1]}") for i in (1, 2, 3)]
        if f"{block}.downsample.0.weight" in held:
            pairs.append(("downsample.0", "downsample.1", "branch1"))
        for convolution, norm, branch in pairs:
            names = [f"{kind}{place}_{branch}" for kind in ("res", "bn", "scale")]
            add(f"{block}.{convolution}", f"{block}.{norm}", names)
    return [*layers, ("fc1000", [np.zeros((4, 8), np.float32), np.zeros(4, np.float32)])]


def caffe_pose_blobs(model):
    """OpenPose's COCO net as (layer, blobs)."""
    held = {name.split(".", 1)[1]: value.numpy() for name, value in model.state_dict().items()}
    layers = sorted({name.split(".")[0] for name in held})
    return [(name, [held[f"{name}.weight"], held[f"{name}.bias"]]) for name in layers]


def npy_folder(path, layers, height_first=True):
    """Every blob as <layer>_<number>.npy, kernels [height, width, in, out] or as Caffe has them."""
    path.mkdir()
    for name, blobs in layers:
        for number, blob in enumerate(blobs):
            if height_first and blob.ndim == 4:
                blob = blob.transpose(2, 3, 1, 0)
            np.save(path / f"{name}_{number}.npy", blob)
    return path


def caffemodel(path, layers, old=False):
    """A NetParameter with the layers' names and blobs, in the newer or the V1 form."""
    parts = [field(1, b"a net")]
    for name, blobs in layers:
        if old:
            layer = field(4, name.encode()) + number(5, 4)
            layer += b"".join(field(6, old_blob(blob)) for blob in blobs)
            parts.append(field(2, layer))
        else:
            layer = field(1, name.encode()) + field(2, b"Convolution") + field(3, b"data")
            layer += b"".join(field(7, blob_message(blob)) for blob in blobs)
            parts.append(field(100, layer))
    path.write_bytes(b"".join(parts))
    return path


def blob_message(blob, shape=None):
    dimensions = b"".join(varint(size) for size in shape or blob.shape)
    return field(7, field(1, dimensions)) + field(5, blob.astype("<f4").tobytes())


def old_blob(blob):
    sizes = (1,) * (4 - blob.ndim) + blob.shape
    header = b"".join(number(index, size) for index, size in enumerate(sizes, 1))
    return header + field(5, blob.astype("<f4").tobytes())


def field(index, data):
    return varint(index << 3 | 2) + varint(len(data)) + data


def number(index, value):
    return varint(index << 3) + varint(value)


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def header(entries, size=None):
    """The head of a safetensors file."""
    text = entries if isinstance(entries, bytes) else entries.encode()
    return struct.pack("<Q", len(text) if size is None else size) + text
