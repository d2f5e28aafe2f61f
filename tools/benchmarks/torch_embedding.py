"""The models of `torch_model` from images to descriptors, in PyTorch and in onnxruntime."""

import io
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.torch_model import Net
from fgsam_jax.config import Config, Phase


class Describer(Net):
    """Images to descriptors as ours has them, of any model but the pose net."""

    def forward(self, images: Any) -> Any:
        """Unit vectors [batch, dim] of uint8 images [batch, height, width, 3]."""
        embeddings = super().forward(images)[0]
        branches = [functional.normalize(embeddings[name]) for name in sorted(embeddings)]
        return torch.cat(branches, 1) / len(branches) ** 0.5

    def pool(self, x: Any, y: Any) -> Any:
        """Rows are rolled where `Net` transforms them: ONNX cannot, and forward it is no slower."""
        rows = torch.bmm(y, x.transpose(1, 2)) / x.shape[2] * self.signs_x.float()
        empty = rows.new_zeros(*rows.shape[:2], self.size)
        rows = empty.scatter_add(2, self.bins_x.expand_as(rows), rows)
        turned = (torch.arange(self.size) - self.bins_y[:, None]) % self.size
        rows = rows.gather(2, turned.expand(len(rows), -1, -1))
        return torch.matmul(self.parts * self.signs_y.float(), rows)


def describer(config: Config, phase: Phase) -> Describer:
    """The model of a phase with random weights, for inference."""
    torch.manual_seed(0)
    net = Describer(config.model, phase.model)
    return net.to(memory_format=torch.channels_last).eval()


def rivals(net: Describer, images: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Images in, descriptors out, in PyTorch and, where it and onnx are installed, onnxruntime."""
    runs: dict[str, Callable[[], np.ndarray]] = {"PyTorch": partial(described, net, images)}
    try:
        import onnx  # noqa: F401, the export needs it
        import onnxruntime
    except ImportError:
        return runs
    settings = onnxruntime.SessionOptions()
    # Its threads would otherwise still wait for work while the next in turn is measured.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        _exported(net, images), settings, providers=["CPUExecutionProvider"]
    )
    return runs | {"onnxruntime": lambda: session.run(None, {"images": images})[0]}


def described(net: Describer, images: np.ndarray) -> np.ndarray:
    """Images to descriptors in PyTorch."""
    with torch.no_grad():
        return net(torch.from_numpy(images)).numpy()


def _exported(net: Describer, images: np.ndarray) -> bytes:
    """The model in ONNX for as many images of their size."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no other package is the old one
        torch.onnx.export(
            net,
            (torch.from_numpy(images),),
            file,
            input_names=["images"],
            opset_version=18,
            dynamo=False,
        )
    return file.getvalue()
