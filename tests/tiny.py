"""The smallest models that have everything, for the tests of training."""

from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax.config import Config, Data, Log, Model, Phase, PoseData
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.models.factory import make_model, variable_shapes

HEIGHT, WIDTH, PEOPLE = 32, 16, 4
SIZES = Model(
    backbone="resnet10",
    width=8,
    stem="small",
    last_stride=1,
    pose_width=0.0625,
    pose_kernel=3,
    sketch=64,
    part_size=8,
    plenary_size=16,
)
POSE = Phase("pose", "Pose", "pose", batch=16)
BASE = Phase("base", "Base", "baseline", batch=16)
BOTH = Phase("both", "Base + Pose", "intermediate", start_from=("pose", "base"), batch=16)
FULL = Phase(
    "full",
    "FGSAM",
    "fgsam",
    start_from=("both",),
    triplet="focal",
    batch=16,
    images_per_identity=4,
)
PHASES = (POSE, BASE, BOTH, FULL)


def model(kind: str, sizes: Model = SIZES, axis_name: str | None = None, **options):
    return make_model(sizes, kind, PEOPLE, MARKET1501, axis_name=axis_name, **options)


def config(rendered: Path, phases: tuple[Phase, ...] = PHASES, **changes) -> Config:
    """A run on the rendered set; records are shared by all tests."""
    values = {
        "data": Data(
            source=str(rendered / "market1501"),
            records=str(rendered.parent / "records"),
            height=HEIGHT,
            width=WIDTH,
        ),
        "pose_data": PoseData(source=str(rendered / "coco"), sigma=6.0),
        "model": SIZES,
        "log": Log(every=1, pictures=False),
        "evaluation_batch": 16,
    }
    return Config(**{**values, **changes}, phases=phases)


def random_batch(seed: int, size: int = 8) -> dict:
    """A batch that every objective can use, two images of each of four people."""
    random = np.random.default_rng(seed)
    joints = random.uniform(0, 1, (size, 2, 18, 3)).astype(np.float32) * [WIDTH, HEIGHT, 0]
    joints[..., 2] = random.integers(-1, 3, (size, 2, 18))
    return {
        "image": random.integers(0, 256, (size, HEIGHT, WIDTH, 3)).astype(np.uint8),
        "joints": joints.astype(np.float32),
        "mask": random.uniform(0, 1, (size, HEIGHT // 8, WIDTH // 8)).astype(np.float32),
        "label": (np.arange(size) % PEOPLE).astype(np.int32),
        "attributes": {
            a.name: random.integers(-1, len(a.classes), size).astype(np.int32) for a in MARKET1501
        },
    }


def numpy_variables(module, seed: int = 0) -> dict:
    """Variables of a module, drawn without compiling anything."""
    random = np.random.default_rng(seed)

    def draw(path: tuple[str, ...], shape) -> np.ndarray:
        if path[-1].endswith("bins"):
            return random.integers(0, SIZES.sketch, shape.shape).astype(np.int32)
        if path[-1].endswith("signs"):
            return random.choice([-1, 1], shape.shape).astype(np.int8)
        if path[-1] == "kernel":
            inputs = np.prod(shape.shape[:-1])
            return random.normal(0, (2 / inputs) ** 0.5, shape.shape).astype(np.float32)
        filled = {"scale": 1, "var": 1, "exponent": 3}.get(path[-1], 0)
        return np.full(shape.shape, filled, np.float32)

    shapes = flatten_dict(variable_shapes(module, HEIGHT, WIDTH))
    drawn = unflatten_dict({path: draw(path, shape) for path, shape in shapes.items()})
    return {name: drawn.get(name, {}) for name in ("params", "batch_stats", "constants")}
