"""A trained model in ONNX, written from its traced program."""

import json

import jax
import onnx
from onnx import TensorProto, helper

from fgsam_jax.export import program
from fgsam_jax.export.graph import Graph
from fgsam_jax.export.trained import Trained, batch_of
from fgsam_jax.settings import own_settings


@own_settings()
def to_onnx(model: Trained) -> bytes:
    """A model in ONNX: "images" uint8 in, out what `Trained.outputs` says.

    The number of images is open, their size is not. The metadata are those of `Trained.about`, each
    value in JSON.
    """
    images = batch_of(*model.size)
    traced, shapes = jax.make_jaxpr(model.outputs(roll=True), return_shape=True)(images)
    graph = Graph()
    values = program.inline(graph, traced.jaxpr, traced.consts, ["images"])
    by_name = dict(zip(sorted(shapes), values, strict=True))  # JAX sorts the names of a dictionary
    outputs = {
        name: (by_name[name], _described(name, TensorProto.FLOAT, shapes[name].shape))
        for name in shapes
    }
    about = {key: json.dumps(value) for key, value in model.about().items()}
    given = _described("images", TensorProto.UINT8, images.shape)
    made = graph.model([given], outputs, about)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def _described(name: str, kind: int, shape: tuple) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", *shape[1:]])
