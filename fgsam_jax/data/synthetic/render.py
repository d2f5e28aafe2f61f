"""Renders a miniature of Market-1501 and of COCO keypoints, in the layout of the published files.

The demo and the tests run on it, through the same builders that read the real sets. Every picture
has its own random stream, named by the seed and its place, so the folder's bytes depend on the
arguments alone.
"""

import functools
import glob
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from fgsam_jax.data.synthetic.body import sample_pose
from fgsam_jax.data.synthetic.pedestrian import Canvas, Figure, draw, visibility
from fgsam_jax.data.synthetic.person import Person, sample_person
from fgsam_jax.data.synthetic.street import Camera, backdrop, obstruct, sample_camera, take
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS

# Raised whenever the same arguments give other pictures than before.
VERSION = 1

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
_SKELETON = [
    [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9],
    [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
]  # fmt: skip
_ROWS = [JOINTS.index(name) for name in KEYPOINTS]
_UP = ("black", "white", "red", "purple", "yellow", "gray", "blue", "green")
_DOWN = ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown")

# What a random stream is for; the first number after the seed.
_CAMERA, _PERSON, _SPLIT, _SHOTS, _DISTRACTOR, _JUNK, _TRAIN_SCENE, _VAL_SCENE = range(8)
_PLACES = 24  # different scenes of the pose pictures
_OVER = 2  # the canvas is this much finer than the picture
_LARGEST_IDENTITY = 1501

File = tuple[str, bytes]


def render(
    folder: str | Path,
    *,
    seed: int = 0,
    train_identities: int = 60,
    test_identities: int = 40,
    images_per_identity: int = 12,
    cameras: int = 6,
    height: int = 128,
    width: int = 64,
    distractors: int = 60,
    junk: int = 20,
    pose_images: int = 300,
    pose_val_images: int = 60,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Writes folder/market1501 and folder/coco; a folder of the same arguments is left as it is.

    Everything is rendered beside the folder and moved there at the end, so the folder is complete
    or absent. `about.json` in it holds the arguments.

    Args:
      folder: absent, or the result of an earlier call with the same arguments.
      seed: names the random streams; the same arguments give the same bytes.
      train_identities, test_identities: how many people, disjoint; at most 1501 together.
      images_per_identity: boxes of a person, over several cameras; at least 4.
      cameras: 2 to 6.
      height, width: size of a box in pixels.
      distractors, junk: boxes 0000 and -1 among the test boxes.
      pose_images, pose_val_images: scenes with keypoints, about 256 x 192 to 320 x 240 pixels.
      progress: called with (pictures done, pictures in all).

    Raises:
      InputError: an argument out of its range, or a folder that is not the result of these
        arguments.
    """
    about = {
        "version": VERSION,
        "seed": seed,
        "train_identities": train_identities,
        "test_identities": test_identities,
        "images_per_identity": images_per_identity,
        "cameras": cameras,
        "height": height,
        "width": width,
        "distractors": distractors,
        "junk": junk,
        "pose_images": pose_images,
        "pose_val_images": pose_val_images,
    }
    _check(about)
    folder = Path(folder)
    if _is_done(folder, about):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if _is_done(folder, about):  # by the process that had the lock
            return
        name = glob.escape(folder.name)
        for pattern in (f".{name}.part", f".{name}.[0-9]*.part"):
            for part in folder.parent.glob(pattern):
                shutil.rmtree(part)  # of a killed process
        part = folder.with_name(f".{folder.name}.part")
        try:
            part.mkdir()
            _write(part, about, progress)
            (part / "about.json").write_text(json.dumps(about, indent=2) + "\n")
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _check(about: dict[str, int]) -> None:
    least = {"images_per_identity": 4, "cameras": 2, "height": 32, "width": 16}
    most = {"cameras": 6}
    for name, value in about.items():
        low, high = least.get(name, 0), most.get(name)
        if not isinstance(value, int) or value < low or (high is not None and value > high):
            wanted = f"from {low} to {high}" if high else f"of at least {low}"
            raise InputError(f"{name} is {value!r}: give a whole number {wanted}.")
    people = about["train_identities"] + about["test_identities"]
    if people > _LARGEST_IDENTITY:
        raise InputError(
            f"train_identities and test_identities are {people} together: Market-1501's names "
            f"hold at most {_LARGEST_IDENTITY}, give fewer."
        )


def _is_done(folder: Path, about: dict[str, int]) -> bool:
    """Whether the folder holds the result of these arguments; absent is no, else an error."""
    if not folder.exists():
        return False
    try:
        found = json.loads((folder / "about.json").read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"{folder} exists and holds no rendered pedestrians: name a folder that does not "
            f"exist yet, or delete this one."
        )
    other = [name for name in about if found.get(name) != about[name]]
    if other:
        was = ", ".join(f"{name}={found.get(name)}" for name in other)
        asked = ", ".join(f"{name}={about[name]}" for name in other)
        raise InputError(
            f"{folder} was rendered with {was}, and {asked} was asked for: name another folder "
            f"or delete this one."
        )
    return True


def _write(
    root: Path, about: dict[str, int], progress: Callable[[int, int], object] | None
) -> None:
    market, coco = root / "market1501", root / "coco"
    for name in ("bounding_box_train", "bounding_box_test", "query"):
        (market / name).mkdir(parents=True)
    people = about["train_identities"] + about["test_identities"]
    boxes = people * about["images_per_identity"] + about["distractors"] + about["junk"]
    total = boxes + about["pose_images"] + about["pose_val_images"]
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for name, content in _boxes(about):
        (market / name).write_bytes(content)
        step()
    (market / "market_attribute.mat").write_bytes(_attribute_file(about))
    for split, stream in (("train", _TRAIN_SCENE), ("val", _VAL_SCENE)):
        count = about["pose_images" if split == "train" else "pose_val_images"]
        if not count:
            continue
        images, annotations = [], []
        (coco / f"{split}2017").mkdir(parents=True)
        (coco / "annotations").mkdir(exist_ok=True)
        for index in range(count):
            content, image, notes = _pose_scene(about["seed"], stream, index)
            (coco / f"{split}2017" / image["file_name"]).write_bytes(content)
            images.append(image)
            annotations += notes
            step()
        for number, note in enumerate(annotations):
            note["id"] = 100001 + number
        path = coco / "annotations" / f"person_keypoints_{split}2017.json"
        path.write_text(json.dumps(_coco_file(images, annotations)))


def _stream(seed: int, *place: int) -> np.random.Generator:
    return np.random.default_rng([seed, *place])


@functools.lru_cache(maxsize=64)
def _camera(seed: int, index: int) -> Camera:
    return sample_camera(_stream(seed, _CAMERA, index), index)


# Market-1501


def _identities(about: dict[str, int]) -> tuple[list[int], list[int]]:
    """The identities of the training and of the test set, sorted."""
    train, test = about["train_identities"], about["test_identities"]
    rng = _stream(about["seed"], _SPLIT)
    chosen = rng.choice(np.arange(1, _LARGEST_IDENTITY + 1), train + test, replace=False)
    return sorted(int(i) for i in chosen[:train]), sorted(int(i) for i in chosen[train:])


def _person(seed: int, identity: int) -> Person:
    return sample_person(_stream(seed, _PERSON, identity))


def _boxes(about: dict[str, int]) -> Iterator[File]:
    """Every box of the three folders: (path below market1501, JPEG)."""
    train, test = _identities(about)
    for identity in train:
        yield from _shots(about, identity, "bounding_box_train", "bounding_box_train")
    for identity in test:
        yield from _shots(about, identity, "query", "bounding_box_test")
    size = about["width"], about["height"]
    for stream, name, count in (
        (_DISTRACTOR, "0000", about["distractors"]),
        (_JUNK, "-1", about["junk"]),
    ):
        for index in range(count):
            rng = _stream(about["seed"], stream, index)
            number = int(rng.integers(about["cameras"]))
            camera = _camera(about["seed"], number)
            person, yaw = sample_person(rng), rng.uniform(0, 2 * math.pi)
            box = _box(person, camera, rng, yaw, size, "junk" if stream == _JUNK else "detected")
            yield f"bounding_box_test/{name}_c{number + 1}s1_{25 * index + 1:06d}_01.jpg", box


def _shots(about: dict[str, int], identity: int, first: str, others: str) -> Iterator[File]:
    """The boxes of one person; the first one of each camera goes to a folder of its own."""
    rng = _stream(about["seed"], _SHOTS, identity)
    person = _person(about["seed"], identity)
    images = about["images_per_identity"]
    most = min(about["cameras"], images // 2)
    visits = rng.permutation(about["cameras"])[: rng.integers(min(3, most), most + 1)]
    size = about["width"], about["height"]
    for place, number in enumerate(visits):
        camera = _camera(about["seed"], int(number))
        yaw = rng.uniform(0, 2 * math.pi)
        frame, sequence = int(rng.integers(1, 90000)), int(rng.integers(1, 7))
        for shot in range(images // len(visits) + (place < images % len(visits))):
            # The published queries are drawn by hand and numbered 00.
            by_hand = shot == 0 and first != others
            turn = yaw + rng.normal(0, 0.3)
            box = _box(person, camera, rng, turn, size, "hand" if by_hand else "detected")
            name = f"{identity:04d}_c{number + 1}s{sequence}_{frame:06d}_{0 if by_hand else 1:02d}"
            yield f"{others if shot else first}/{name}.jpg", box
            frame += int(rng.integers(5, 60))


def _box(
    person: Person,
    camera: Camera,
    rng: np.random.Generator,
    yaw: float,
    size: tuple[int, int],
    manner: str,
) -> bytes:
    """One box as JPEG, cut by "hand", as "detected", or so badly that it is "junk"."""
    wide, high = (_OVER * side for side in size)
    canvas = Canvas(backdrop(camera, rng, (wide, high), rng.uniform(0.8, 1.3)), camera.light)
    spread = {"hand": 0.4, "detected": 1.0, "junk": 1.0}[manner]
    tall = 0.97 * high * math.exp(spread * rng.normal(0, 0.1))
    x, y = 0.5 + spread * rng.normal(0, 0.08), 0.5 + spread * rng.normal(0, 0.045)
    if manner == "detected" and rng.random() < 0.15:
        tall *= rng.uniform(1.05, 1.25)
        y += rng.choice([-1, 1]) * rng.uniform(0.04, 0.12)
    if manner == "junk":
        tall *= rng.uniform(1.3, 2.4) if rng.random() < 0.6 else rng.uniform(0.25, 0.5)
        x, y = x + rng.choice([-1, 1]) * rng.uniform(0.25, 0.7), y + rng.uniform(-0.5, 0.5)
    foot = complex(x * wide, y * high + tall / 2)

    def passer(depth: float, slot: int) -> None:
        aside = rng.choice([-1, 1]) * rng.uniform(0.22, 0.5) * wide
        at = complex(foot.real + aside, foot.imag + (depth - 1) * 0.6 * tall)
        pose = sample_pose(rng, rng.uniform(0, 2 * math.pi))
        draw(
            canvas,
            sample_person(rng),
            pose,
            scale=tall * depth,
            foot=at,
            pitch=camera.pitch,
            slot=slot,
        )

    if rng.random() < 0.2:
        passer(rng.uniform(0.55, 0.95), 2)
    pose = sample_pose(rng, yaw)
    draw(canvas, person, pose, scale=tall / person.height, foot=foot, pitch=camera.pitch)
    if manner == "detected" and rng.random() < 0.09:
        passer(rng.uniform(1.02, 1.15), 3)
    if manner != "hand" and rng.random() < 0.12:
        obstruct(canvas, rng, foot, tall)
    return take(camera, rng, canvas.image, size)


def labels(person: Person) -> dict[str, int]:
    """The fields of market_attribute.mat and their values for one person."""
    fields = {
        "age": person.age,
        "backpack": 1 + person.backpack,
        "bag": 1 + person.bag,
        "handbag": 1 + person.handbag,
        "clothes": 1 if person.dress else 2,
        "down": 1 if person.long_lower else 2,
        "up": 1 if person.long_sleeves else 2,
        "hair": 1 + person.long_hair,
        "hat": 1 + person.hat,
        "gender": 1 + person.female,
    }
    fields |= {f"up{colour}": 1 + (person.upper_colour == colour) for colour in _UP}
    fields |= {f"down{colour}": 1 + (person.lower_colour == colour) for colour in _DOWN}
    return fields


def _attribute_file(about: dict[str, int]) -> bytes:
    """market_attribute.mat: a struct of test and train, each a struct of 1 x N arrays."""
    train, test = _identities(about)
    parts: dict[str, dict[str, np.ndarray]] = {}
    # The published file lists the test people first, and its training half has the colours in
    # another place: a reader must go by name.
    for name, identities in (("test", test), ("train", train)):
        rows = [labels(_person(about["seed"], identity)) for identity in identities]
        fields = list(labels(_person(about["seed"], 0)))
        if name == "train":
            fields = fields[:4] + sorted(fields[10:]) + fields[4:10]
        parts[name] = {f: np.array([[row[f] for row in rows]], np.uint8) for f in fields}
        index = np.empty((1, len(identities)), object)
        index[0] = [f"{identity:04d}" for identity in identities]
        parts[name]["image_index"] = index
    from scipy.io import savemat  # only a set that is rendered anew needs it

    file = io.BytesIO()
    savemat(file, {"market_attribute": parts}, do_compression=True)
    # The first 116 bytes are free text; SciPy writes the time there.
    content = file.getvalue()
    return b"MATLAB 5.0 MAT-file, rendered pedestrians".ljust(116) + content[116:]


# COCO


def _pose_scene(seed: int, stream: int, index: int) -> tuple[bytes, dict, list[dict]]:
    """One picture with one to three pedestrians: (JPEG, its image entry, its annotations)."""
    rng = _stream(seed, stream, index)
    camera = _camera(seed, 100 + int(rng.integers(_PLACES)))
    width, height = int(rng.integers(256, 321)), int(rng.integers(192, 241))
    wide, high = _OVER * width, _OVER * height
    canvas = Canvas(backdrop(camera, rng, (wide, high), rng.uniform(1.0, 1.4)), camera.light)
    far, crowd, figures = [], None, []

    def stand(slot: int, tall: float, x: float, y: float) -> Figure:
        pose, person = sample_pose(rng, rng.uniform(0, 2 * math.pi)), sample_person(rng)
        foot, scale = complex(_OVER * x, _OVER * y), _OVER * tall / person.height
        return draw(canvas, person, pose, scale=scale, foot=foot, pitch=camera.pitch, slot=slot)

    line = height * rng.uniform(0.5, 0.65)
    if rng.random() < 0.1:
        crowd, left = 7, rng.uniform(0, 0.7 * width)
        for _ in range(rng.integers(7, 13)):
            stand(
                crowd,
                rng.uniform(32, 46),
                left + rng.uniform(0, 0.3 * width),
                line + rng.uniform(0, 8),
            )
    for slot in (4, 5, 6)[: rng.choice(4, p=[0.6, 0.25, 0.1, 0.05])]:
        far.append(slot)
        stand(slot, rng.uniform(26, 60), rng.uniform(0.03, 0.97) * width, line + rng.uniform(8, 20))
    heights = sorted(rng.uniform(100, 200) for _ in range(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])))
    for slot, tall in enumerate(heights, start=1):
        bottom = (
            height * rng.uniform(0.9, 1.0)
            if rng.random() < 0.75
            else height * rng.uniform(1.0, 1.2)
        )
        foot = max(bottom, 0.85 * tall + rng.uniform(0, 20))
        x = rng.uniform(0.1, 0.9) if rng.random() < 0.85 else rng.choice([0.0, 1.0])
        figures.append(stand(slot, tall, x * width, foot))
        if rng.random() < 0.15:
            obstruct(canvas, rng, complex(_OVER * x * width, _OVER * foot), _OVER * tall)
    # A person is what is seen of him in the finished picture.
    owner = np.asarray(canvas.parts)[::_OVER, ::_OVER] // 32
    number = index + 1 + (500000 if stream == _VAL_SCENE else 0)
    notes = [_annotate(owner == f.slot, number, _keypoints(canvas, f)) for f in figures]
    notes += [_annotate(owner == slot, number, [0] * 51) for slot in far]
    if crowd is not None:
        notes.append(_annotate(owner == crowd, number, [0] * 51, crowd=True))
    image = {
        "license": 1,
        "file_name": f"{number:012d}.jpg",
        "coco_url": "",
        "height": height,
        "width": width,
        "date_captured": "",
        "flickr_url": "",
        "id": number,
    }
    content = take(camera, rng, canvas.image, (width, height))
    return content, image, [note for note in notes if note is not None]


def _keypoints(canvas: Canvas, figure: Figure) -> list[int]:
    """COCO's 17 triples x, y, flag, in pixels of the finished picture."""
    flags = visibility(canvas, figure)
    points: list[int] = []
    for row in _ROWS:
        x, y = (int(value // _OVER) for value in figure.joints[row])
        points += [x, y, int(flags[row])] if flags[row] else [0, 0, 0]
    return points


def _annotate(
    mask: np.ndarray, image: int, keypoints: list[int], crowd: bool = False
) -> dict | None:
    """COCO's entry of one person or crowd; None if nothing of it is seen."""
    rows, columns = np.nonzero(mask)
    # pycocotools takes a ring of fewer than three points for a box.
    if len(rows) < 12 or np.ptp(rows) < 3 or np.ptp(columns) < 1:
        return None
    left, top = int(columns.min()), int(rows.min())
    return {
        "segmentation": _run_lengths(mask) if crowd else [_ring(mask)],
        "num_keypoints": sum(flag > 0 for flag in keypoints[2::3]),
        "area": float(len(rows)),
        "iscrowd": int(crowd),
        "keypoints": keypoints,
        "image_id": image,
        "bbox": [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top],
        "category_id": 1,
        "id": 0,
    }


def _ring(mask: np.ndarray) -> list[float]:
    """A rough outline: down the left edge and up the right one, x y x y ... in pixels."""
    filled = np.nonzero(mask.any(1))[0]
    chosen = sorted({*filled[::3].tolist(), int(filled[-1])})
    left = [(float(np.argmax(mask[y])), float(y)) for y in chosen]
    right = [(float(mask.shape[1] - np.argmax(mask[y, ::-1])), float(y)) for y in chosen]
    # The last row has a lower edge too.
    low = chosen[-1] + 1.0
    ring = [*left, (left[-1][0], low), (right[-1][0], low), *reversed(right)]
    return [value for point in ring for value in point]


def _run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths: column by column, starting with a run of zeros."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    changes = np.nonzero(flat[1:] != flat[:-1])[0]
    edges = np.unique(np.concatenate([[0], changes, [mask.size]]))
    counts = np.diff(edges).tolist()
    return {"counts": [0, *counts] if mask[0, 0] else counts, "size": list(mask.shape)}


def _coco_file(images: list[dict], annotations: list[dict]) -> dict:
    return {
        "info": {
            "description": "Rendered pedestrians in the layout of COCO 2017 keypoints",
            "url": "",
            "version": "1.0",
            "year": 2017,
            "contributor": "fgsam_jax",
            "date_created": "",
        },
        "licenses": [{"url": "", "id": 1, "name": "Rendered, free of rights"}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {
                "supercategory": "person",
                "id": 1,
                "name": "person",
                "keypoints": list(KEYPOINTS),
                "skeleton": _SKELETON,
            }
        ],
    }
