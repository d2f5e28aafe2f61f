"""A trained model as a file of ONNX or of StableHLO."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import onnx
from onnx import TensorProto, helper

from fgsam_jax.errors import InputError
from fgsam_jax.export import operators
from fgsam_jax.export.graph import Graph
from fgsam_jax.export.trained import Trained, batch_of
from fgsam_jax.settings import own_settings

PLATFORMS = ("cpu", "cuda", "tpu")  # that the file of StableHLO can be called on


@own_settings()
def to_onnx(model: Trained) -> bytes:
    """A model in ONNX: "images" in, see `Trained.outputs` for what comes out.

    The number of images is open. The metadata are those of `Trained.about`, values in JSON.
    """
    images = batch_of(*model.size)
    # By "roll" the pooling is products and gathers alone; there are no complex numbers in ONNX.
    traced, shapes = jax.make_jaxpr(model.outputs(bilinear="roll"), return_shape=True)(images)
    graph = Graph()
    values = operators.inline(graph, traced.jaxpr, traced.consts, ["images"])
    names = sorted(shapes)  # the order in which JAX flattens a dictionary
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *images.shape[1:]])
    outputs = {
        name: (
            value,
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ["batch", *shapes[name].shape[1:]]
            ),
        )
        for name, value in zip(names, values, strict=True)
    }
    about = {key: json.dumps(value) for key, value in model.about().items()}
    made = graph.model([given], {name: outputs[name] for name in shapes}, about)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


@own_settings()
def to_stablehlo(model: Trained) -> bytes:
    """A model as `jax.export` serialises it, for the platforms `PLATFORMS`.

    `jax.export.deserialize(file).call(images)` gives what `Trained.outputs` says, by name; it needs
    JAX alone. `Trained.about` is JSON in the `fun_name` of what is read.
    """
    made = jax.export.export(jax.jit(model.outputs()), platforms=PLATFORMS)(batch_of(*model.size))
    named = dataclasses.replace(made, fun_name=json.dumps(model.about()))
    return bytes(named.serialize())


_WRITERS: dict[str, Callable[[Trained], bytes]] = {".onnx": to_onnx, ".stablehlo": to_stablehlo}


def write(model: Trained, path: Path) -> None:
    """Write a model to a .onnx or a .stablehlo. Raises InputError: another name, or no place."""
    check_name(path)
    store(path, _WRITERS[path.suffix](model))


def check_name(path: Path) -> None:
    """Refuse names that say no format. Raises InputError."""
    if path.suffix not in _WRITERS:
        raise InputError(f"a model is exported to a {' or a '.join(_WRITERS)}, got {path}")


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


def described(path: Path) -> dict[str, Any]:
    """What an exported file says of itself, see `Trained.about`.

    Raises:
      InputError: it is not one.
    """
    raise NotImplementedError
