"""From images to joints: what a trained pose net finds in crops, and COCO's format of it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from fgsam_jax.checkpoint import restore
from fgsam_jax.data.images import read_image, resize
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS, MIRRORED_JOINT
from fgsam_jax.retrieval.inference import forward
from fgsam_jax.runtime.ahead import made_ahead

# COCO's order of its 17 keypoints; the neck is none of them.
KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
_ORDER = np.array([JOINTS.index(name) for name in KEYPOINTS])
_LEAST = 1e-6  # of a confidence, before its logarithm
_CONFIDENT = 0.3


def find_joints(
    workdir: Path, paths: Sequence[Path], phase: str = "pose", which: str = "last"
) -> tuple[np.ndarray, np.ndarray]:
    """The joints that the pose net of a run finds in crops, one person in each.

    The confidence maps of an image and of its mirror image are averaged.

    Args:
      workdir: of the run.
      paths: of the images.
      phase: of the run, one whose model has a pose net.
      which: "last" or "best", the checkpoint.

    Returns:
      joints: float32 [images, 18, 3], (x, y, confidence) in the order of `skeleton.JOINTS`, in
        pixels of the image as a viewer shows it, the first pixel's centre at 0.
      sizes: int [images, 2], width and height.

    Raises:
      InputError: there is no such checkpoint, its model has no pose net, or an image is broken.

    Example:
      >>> joints, sizes = find_joints(Path("runs/market"), [Path("a.jpg")])  # doctest: +SKIP
      >>> joints.shape  # doctest: +SKIP
      (1, 18, 3)
    """
    info, variables, _ = restore(workdir, phase, which)
    if info.kind == "baseline":
        raise InputError(f"the phase {phase} of {workdir} has no pose net: name another by --phase")
    model, config = info.model(), info.config
    height = config.pose_data.height or config.data.height
    width = config.pose_data.width or config.data.width

    @jax.jit
    def heat(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        both = jnp.concatenate([images, images[:, :, ::-1]])
        pose = forward(model, variables, both).pose
        assert pose is not None
        seen, mirrored = jnp.split(pose.heat[-1][..., : len(JOINTS)], 2)
        return (seen + mirrored[:, :, ::-1][..., MIRRORED_JOINT]) / 2

    def one(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        image = read_image(path)[1]
        return resize(image, height, width), image.size

    size = min(config.evaluation_batch, len(paths))
    found, sizes = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = tqdm(range(0, len(paths), size), "finding joints", leave=False, disable=None)
        batches = made_ahead(lambda i: list(pool.map(one, paths[i : i + size])), starts)
        for batch in batches:
            images = np.stack([image for image, _ in batch])
            # The last batch is filled up, so that one program serves all.
            maps = heat(variables, np.resize(images, (size, height, width, 3)))[: len(batch)]
            found.append(peaks(np.asarray(maps, np.float32)))
            sizes += [size for _, size in batch]
    joints, held = np.concatenate(found), np.array(sizes)
    joints[..., :2] = joints[..., :2] * held[:, None] - 0.5
    return joints, held


def peaks(heat: np.ndarray) -> np.ndarray:
    """The highest place of each map, between cells, as shares of the image.

    Around the highest cell the logarithm of a map is taken for a parabola along each axis, which
    it is where the map is a Gaussian (Zhang et al., "Distribution-Aware Coordinate Representation
    for Human Pose Estimation", 2020, without their smoothing). At the rim the cell's centre stays.

    Args:
      heat: [images, rows, columns, joints].

    Returns:
      float32 [images, joints, 3], (x, y, height of the cell), x and y from 0 to 1.

    Example:
      >>> x = np.exp(-((np.arange(9) - 3.25) ** 2) / 2)
      >>> peaks(np.outer(x, x)[None, :, :, None])[0, 0, :2] * 9 - 0.5
      array([3.25, 3.25], dtype=float32)
    """
    images, rows, columns, joints = heat.shape
    flat = heat.reshape(images, rows * columns, joints)
    row, column = np.divmod(flat.argmax(1), columns)
    image, joint = np.ogrid[:images, :joints]
    # Reflected, the two neighbours of a cell at the rim are alike and move nothing.
    rim = ((0, 0), (1, 1), (1, 1), (0, 0))
    logarithm = np.pad(np.log(np.maximum(heat, _LEAST)), rim, "reflect")

    def shift(down: int, right: int) -> np.ndarray:
        before, here, after = (
            logarithm[image, row + 1 + step * down, column + 1 + step * right, joint]
            for step in (-1, 0, 1)
        )
        bend = 2 * here - before - after
        return (after - before) / (2 * np.where(bend > 0, bend, 1))

    x, y = (column + 0.5 + shift(0, 1)) / columns, (row + 0.5 + shift(1, 0)) / rows
    return np.stack([x, y, flat.max(1)], -1).astype(np.float32)


def coco_joints(names: Sequence[str], joints: np.ndarray, sizes: np.ndarray) -> dict[str, Any]:
    """Joints in COCO's keypoint format, one person in each image.

    A joint of a lower confidence than 0.3 is not labelled (flag 0), the others are visible (2). A
    keypoint that no image shows is not among the file's keypoints: the pose net did not learn it,
    and readers would take it for absent otherwise.

    Args:
      names: of the images.
      joints: [images, 18, 3], (x, y, confidence), see `find_joints`.
      sizes: [images, 2], width and height in pixels.

    Returns:
      Plain values for JSON; a person's "score" is the mean confidence of the joints labelled.

    Raises:
      InputError: no image shows a joint.

    Example:
      >>> joints = np.full((1, 18, 3), (8.0, 4.0, 0.9))
      >>> found = coco_joints(["a.jpg"], joints, np.array([[64, 128]]))
      >>> found["annotations"][0]["num_keypoints"], found["annotations"][0]["keypoints"][:3]
      (17, [8.0, 4.0, 2.0])
    """
    seen = joints[:, _ORDER, 2] >= _CONFIDENT
    learned = seen.any(0)
    if not learned.any():
        raise InputError("the pose net finds no joint in any image: train it longer")
    order, seen = _ORDER[learned], seen[:, learned]
    annotations = []
    for number, (person, shown, (width, height)) in enumerate(
        zip(joints[:, order], seen, sizes.tolist(), strict=True), 1
    ):
        if not shown.any():
            continue
        flags = np.where(shown, 2, 0)[:, None]
        points = np.concatenate([person[:, :2].round(1) * (flags > 0), flags], 1)
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": [0, 0, width, height],
                "area": width * height,
                "iscrowd": 0,
                "segmentation": [],
                "keypoints": [round(value, 1) for value in points.ravel().tolist()],
                "num_keypoints": int(shown.sum()),
                "score": round(float(person[shown, 2].mean()), 3),
            }
        )
    images = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, (width, height)) in enumerate(zip(names, sizes.tolist(), strict=True), 1)
    ]
    listed = [KEYPOINTS[row] for row in np.flatnonzero(learned)]
    category = {"id": 1, "name": "person", "keypoints": listed}
    return {"images": images, "annotations": annotations, "categories": [category]}
