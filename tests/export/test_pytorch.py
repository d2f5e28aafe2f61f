"""Trained baselines leave for PyTorch with all that their descriptors and rankings need."""

import dataclasses
import importlib.util
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax.checkpoint import CheckpointInfo, Checkpoints, checkpoint_folder
from fgsam_jax.config import Config, Data, Model, Optimization, Phase
from fgsam_jax.models.factory import variable_shapes
from fgsam_jax.retrieval.embedder import load
from fgsam_jax.training.state import make_state, save_state
from fgsam_jax.weights import readers

torch = pytest.importorskip("torch", reason='PyTorch is not installed: pip install -e ".[convert]"')
models = pytest.importorskip("torch_models")

BASE = Phase("base", model="baseline", optimization=Optimization(ema=0.9))
CONFIG = Config(
    data=Data(height=64, width=32),
    model=Model(pooling="gem", baseline_neck=True),
    phases=(BASE,),
    evaluation_batch=8,
    mirror=True,
)
NETS = {
    "resnet18": lambda: models.ResNet(18, last_stride=1),
    "mobilenet_v2": lambda: models.MobileNetV2(last_stride=1),
    "efficientnet_lite0": lambda: models.EfficientNetLite(0, last_stride=1),
    "osnet_x0_25": lambda: models.OSNet((16, 64, 96, 128)),
}


def write_checkpoint(workdir, model):
    """Of a baseline with random weights, and others as those that are trained on."""
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, **model))
    info, random = CheckpointInfo(config, "base", 5, ()), np.random.default_rng(0)

    def draw(path, shape):
        if len(shape) > 1:
            return random.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
        if path[-1] in ("mean", "bias"):
            return random.normal(0, 0.2, shape)
        return random.uniform(0.4, 0.8, shape) if path[-1] != "exponent" else np.full(shape, 2.5)

    shapes = flatten_dict(variable_shapes(info.model(), 64, 32))
    drawn = {path: draw(path, x.shape).astype(np.float32) for path, x in shapes.items()}
    state = make_state(unflatten_dict(drawn) | {"constants": {}}, BASE, optax.sgd(1.0))
    others = {name: jax.tree.map(lambda x: 2 * x, getattr(state, name))
              for name in ("params", "batch_stats")}  # fmt: skip
    checkpoints = Checkpoints(checkpoint_folder(workdir, "base"), create=True)
    save_state(checkpoints, state.replace(step=state.step + 1, **others), info.to_dict(), None)
    checkpoints.wait()


def exported(workdir):
    """What the tool writes: arrays by name, and metadata."""
    place = Path(__file__).parents[2] / "tools" / "convert_weights.py"
    spec = importlib.util.spec_from_file_location("convert_weights", place)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    target = workdir / "model.safetensors"
    tool.main([str(workdir), "--to", str(target)])
    return readers.read(target), readers.metadata(target)


def torch_descriptors(net, arrays, images):
    """As docs/weights.md has it."""
    state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    missing, beside = net.load_state_dict(state, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing)
    assert set(beside) == {"pool.p", "bottleneck.running_mean", "bottleneck.running_var"}

    def embed(images):
        x = net(images).clamp(min=1e-6).pow(state["pool.p"]).mean((2, 3)).pow(1 / state["pool.p"])
        mean, var = (state[f"bottleneck.running_{name}"] for name in ("mean", "var"))
        return torch.nn.functional.batch_norm(x, mean, var)

    images = torch.from_numpy(images)
    with torch.no_grad():
        rows = (embed(images) + embed(images.flip(2))) / 2
    return torch.nn.functional.normalize(rows).numpy()


@pytest.mark.parametrize("backbone", NETS)
def test_an_exported_baseline_ranks_in_pytorch_as_here(backbone, tmp_path):
    write_checkpoint(tmp_path, {"backbone": backbone, "last_stride": 1})
    arrays, about = exported(tmp_path)
    wanted = {"phase": "base", "height": "64", "width": "32", "last_stride": "1", "mirror": "true"}
    assert about.items() >= wanted.items()
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (8, 4, 2, 3)).astype(np.uint8).repeat(16, 1).repeat(16, 2)
    ours = load(tmp_path).embed(images)
    theirs = torch_descriptors(NETS[backbone]().eval(), arrays, images)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    distances = [np.linalg.norm(x[:2, None] - x[None, 2:], axis=2) for x in (ours, theirs)]
    assert np.ptp(distances[0]) > 1e-3
    np.testing.assert_array_equal(*(np.argsort(x, axis=1) for x in distances))


def test_only_what_the_descriptor_needs_leaves_and_comes_back_as_a_backbone(tmp_path):
    small = {"backbone": "efficientnet_lite0", "pooling": "mean", "search_vector": "before"}
    write_checkpoint(tmp_path, small)
    arrays, _ = exported(tmp_path)
    assert all(name.startswith(("_conv", "_blocks", "_bn")) for name in arrays)
