import copy
import dataclasses
import io
import multiprocessing
import operator
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image
from programs import program
from tiny import HEIGHT, WIDTH, numpy_variables

import fgsam_jax
from fgsam_jax.checkpoint import CheckpointInfo, Checkpoints, checkpoint_folder
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.models.outputs import Outputs
from fgsam_jax.retrieval import inference, pictures
from fgsam_jax.retrieval.embedder import Embedder, load
from fgsam_jax.retrieval.inference import BatchedEmbedding, parallel_embed_step
from fgsam_jax.runtime.distributed import replicate

BATCH = 16


def random_images(count, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def info(phase):
    return CheckpointInfo(tiny.config(Path("unused")), phase, tiny.PEOPLE, MARKET1501)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run's folder with checkpoints of random weights."""
    folder = tmp_path_factory.mktemp("run")
    for phase, kind in {"base": "baseline", "full": "fgsam"}.items():
        checkpoints = Checkpoints(checkpoint_folder(folder, phase), create=True)
        checkpoints.save(1, {"variables": numpy_variables(tiny.model(kind))}, info(phase).to_dict())
        checkpoints.wait()
    return folder


@pytest.fixture(scope="module")
def baseline():
    return Embedder(info("base"), numpy_variables(tiny.model("baseline")))


@pytest.fixture
def files(tmp_path):
    """As many images of another size as three batches need, in files and as an array."""
    images = random_images(2 * BATCH + 5, 50, 20)
    paths = [tmp_path / f"{index}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths, images


def test_a_checkpoint_alone_embeds_arrays_and_files_of_any_size(workdir, files):
    model = fgsam_jax.load(workdir)
    assert model.info.phase == "full"
    assert model.info.attributes
    paths, images = files
    found = model.embed(images)
    assert found.shape == (len(images), 6 * 8 + 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-4
    np.testing.assert_array_equal(model.embed(paths), found)
    np.testing.assert_array_equal(model.embed(str(path) for path in paths), found)
    for one in (paths[0], str(paths[0]), images[:1]):
        np.testing.assert_allclose(model.embed(one), found[:1], atol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 32, 16, 3), np.float32), r"uint8 RGB .* got float32 \[2, 32, 16, 3\]"),
        (np.zeros((32, 16, 3), np.uint8), r"got uint8 \[32, 16, 3\]"),
        (np.zeros((0, 32, 16, 3), np.uint8), "no images to embed"),
        (np.zeros((0, 50, 20, 3), np.uint8), "no images to embed"),
        ([], "no images to embed"),
        (["absent.jpg"], "absent.jpg cannot be read: No such file"),
    ],
)
def test_what_is_no_image_is_refused(baseline, images, message):
    with pytest.raises(InputError, match=message):
        baseline.embed(images)


def encoded(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def test_images_of_any_size_and_kind_are_taken_together(baseline, tmp_path):
    sizes = [(50, 20), (HEIGHT, WIDTH), (7, 90)]
    images = [random_images(1, *size)[0] for size in sizes]
    alone = np.concatenate([baseline.embed(image[None]) for image in images])
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    for given in (
        images,
        (jnp.asarray(image) for image in images),
        [Image.fromarray(image) for image in images],
        [encoded(image) for image in images],
        [tmp_path / "a.png", bytearray(encoded(images[1])), images[2][:, ::-1][:, ::-1]],
    ):
        np.testing.assert_allclose(baseline.embed(given), alone, atol=1e-6)
    for one in (encoded(images[0]), Image.fromarray(images[0]), jnp.asarray(images[0])[None]):
        np.testing.assert_allclose(baseline.embed(one), alone[:1], atol=1e-6)
    names = np.array([str(tmp_path / "a.png")])
    np.testing.assert_allclose(baseline.embed(names), alone[:1], atol=1e-6)


def test_an_image_of_pillow_is_seen_as_its_file_is(baseline, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_images(1)[0]).convert("RGBA").save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        found = baseline.embed(image)
    np.testing.assert_array_equal(found, baseline.embed(tmp_path / "a.png"))


CROP = np.zeros((9, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [CROP, CROP[:0]],
            r"^image 1 must be uint8 RGB \[height, width, 3\], got uint8 \[0, 5, 3\]",
        ),
        (np.zeros((2, 0, 5, 3), np.uint8), r"got uint8 \[2, 0, 5, 3\]"),
        ([Image.new("RGB", (0, 4))], "^image 0 cannot be read as an image: it has 0 x 4 pixels"),
        ([CROP, CROP[..., 0]], r"^image 1 .* got uint8 \[9, 5\]"),
        ([CROP, CROP[:, :, :1].repeat(4, 2)], r"^image 1 .* got uint8 \[9, 5, 4\]"),
        ([CROP / 255], r"^image 0 .* got float64 \[9, 5, 3\]"),
        ([np.ma.masked_equal(CROP, 0)], "^image 0 .* got masked uint8"),
        (np.ma.masked_equal(CROP, 0)[None], "^images .* got masked uint8"),
        ([CROP, None], "^image 1 must be .* got NoneType"),
        ([[0, 1]], "^image 0 must be .* got list"),
        (np.arange(3), "^image 0 must be .* got int64"),
        (None, "^images must be .* got NoneType"),
        (7, "^images must be .* got int"),
        (io.BytesIO(b"a"), "^images must be .* got BytesIO"),
        ([b"a" * 10**6], "^image 0 cannot be read as an image: it is of another format"),
        (b"a.jpg", "^image 0 cannot be read as an image: it is of another format"),
        (["/dev/zero"], "^/dev/zero cannot be read: it is no regular file"),
        ("a\0b.jpg", "cannot be read"),
        ([Image.new("F", (3, 3))], "^image 0 cannot be read as an image: of Pillow's mode F"),
    ],
)
def test_what_is_no_image_is_named_in_one_short_line(baseline, images, message):
    with pytest.raises(InputError, match=message) as raised:
        baseline.embed(images)
    assert len(str(raised.value)) < 250


def test_a_pickled_model_and_its_copy_give_the_same_rows(workdir):
    model = load(workdir, dtype="bfloat16")
    again = pickle.loads(pickle.dumps(model))
    assert (again.info, again.step) == (model.info, model.step)
    images = random_images(2)
    for other in (again, copy.deepcopy(model)):
        np.testing.assert_array_equal(other.embed(images), model.embed(images))


def test_a_spawned_process_can_be_given_a_model(baseline):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        rows = pool.apply_async(baseline.embed, (random_images(2),)).get(120)
    np.testing.assert_allclose(rows, baseline.embed(random_images(2)), atol=1e-5)


@pytest.mark.parametrize(
    "name", ["strict, no transfers", "strict, 64 bits", "explicit mesh", "automatic mesh"]
)
def test_a_model_works_inside_any_program(workdir, name):
    images = random_images(3)
    wanted = load(workdir).embed(images)
    with program(name):
        np.testing.assert_array_equal(load(workdir).embed(images), wanted)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="no checkpoint of a re-identification model"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"no checkpoint at .*base: train first"):
        load(tmp_path, phase="base")


def test_a_broken_file_among_many_is_named_and_ends_all_threads(baseline, files):
    paths, _ = files
    paths[BATCH + 3].write_bytes(paths[BATCH + 3].read_bytes()[:100])
    paths[BATCH + 9].write_bytes(b"")
    before = set(threading.enumerate())
    with pytest.raises(InputError, match=f"{paths[BATCH + 3]} cannot be read as an image"):
        baseline.embed(paths)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("count", [BATCH, 2 * BATCH + 5])
def test_the_result_is_that_of_one_batch_after_the_other(count):
    model = tiny.model("fgsam")
    variables, images = numpy_variables(model), random_images(count)
    found = BatchedEmbedding(model, variables, BATCH)(images)
    step, devices = parallel_embed_step(model), jax.local_device_count()
    for start in range(0, count, BATCH):
        rows = np.resize(images[start : start + BATCH], (BATCH, HEIGHT, WIDTH, 3))
        batch = step(replicate(variables), rows.reshape(devices, -1, HEIGHT, WIDTH, 3))
        wanted = jax.tree.map(lambda x: np.asarray(x).reshape(BATCH, *x.shape[2:]), batch)
        given = jax.tree.map(operator.itemgetter(slice(start, start + BATCH)), found)
        wanted = jax.tree.map(operator.itemgetter(slice(count - start)), wanted)
        jax.tree.map(np.testing.assert_array_equal, given, wanted)


def with_batch(checkpoint, images):
    config = dataclasses.replace(checkpoint.config, evaluation_batch=images)
    return dataclasses.replace(checkpoint, config=config)


def test_descriptors_do_not_depend_on_how_many_images_a_call_has():
    checkpoint = with_batch(info("full"), 128)
    model, images = Embedder(checkpoint, numpy_variables(checkpoint.model())), random_images(129)
    whole = model.embed(images)
    assert np.abs(whole[0] - whole[1]).max() > 1e-4
    for count in (1, 2, 9, 33, 128):
        np.testing.assert_allclose(model.embed(images[:count]), whole[:count], atol=1e-6)


@pytest.mark.parametrize(
    ("devices", "batches"),
    [
        (1, {1: [1], 2: [8], 8: [8], 9: [32], 33: [128], 128: [128], 129: [128] * 2}),
        (3, {1: [3], 4: [9], 10: [33], 34: [129], 129: [129], 130: [129] * 2}),
        (4, {1: [4], 5: [8], 9: [32], 33: [128], 128: [128], 300: [128] * 3}),
    ],
)
def test_a_call_takes_the_smallest_batches_that_hold_its_images(monkeypatch, devices, batches):
    taken = []

    def step(variables, images):
        taken.append(images.shape[0] * images.shape[1])
        return {"descriptor": images[:, :, 0, 0].astype(np.float32)}

    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    monkeypatch.setattr(inference, "parallel_embed_step", lambda *_: step)
    model = Embedder(with_batch(info("base"), 128), {})
    for count, wanted in batches.items():
        images = random_images(count)
        np.testing.assert_array_equal(model.embed(images), images[:, 0, 0])
        assert taken == wanted
        taken.clear()


def test_mirrored_images_are_averaged_before_the_length_is_1():
    checkpoint = info("full")
    module = checkpoint.model()
    variables, pictures = numpy_variables(module), random_images(3)
    checkpoint = dataclasses.replace(
        checkpoint, config=dataclasses.replace(checkpoint.config, mirror=True)
    )
    embedder = Embedder(checkpoint, variables)
    apply = jax.jit(module.apply)
    plain, mirrored = (
        apply(variables, images).embeddings for images in (pictures, pictures[:, :, ::-1])
    )
    branches = [(np.float64(plain[name]) + mirrored[name]) / 2 for name in sorted(plain)]
    wanted = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in branches]
    wanted = np.concatenate(wanted, axis=1) / len(wanted) ** 0.5
    found = embedder.embed(pictures)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(pictures[:, :, ::-1]), found, atol=1e-5)


class Traced(nn.Module):
    """The mean colour; tracing it, once for each program, notes the images on each device."""

    note: Callable

    def __call__(self, images):
        self.note(len(images))
        return Outputs({"plenary": jnp.mean(images * 1.0, (1, 2))}, None, {}, None)


def test_each_size_of_batch_is_compiled_when_first_needed_and_once():
    traced = []
    embedding = BatchedEmbedding(Traced(traced.append), {}, 1, 8, 32)
    assert traced == []
    for count, programs in {3: [1], 9: [1, 8], 2: [1, 8], 70: [1, 8], 5: [1, 8, 2]}.items():
        for _ in range(2):
            embedding(random_images(count))
            assert traced == programs


def test_one_size_of_batch_is_one_program_for_any_number_of_images():
    traced = []
    embedding = BatchedEmbedding(Traced(traced.append), {}, 32)
    for count in (1, 9, 32, 70):
        embedding(random_images(count))
    assert traced == [8]


class Recorder:
    """Images and a step in one that note when a batch is read, dispatched and fetched."""

    def __init__(self, batches):
        self.events, self._batches = [], batches
        self._changed = threading.Condition()

    def __len__(self):
        return self._batches * BATCH

    def __getitem__(self, rows):
        self.note("read", rows.start // BATCH)
        return np.full((BATCH, 1, 1, 3), rows.start // BATCH, np.uint8)

    def note(self, *event):
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def step(self, variables, images):
        number = int(images.flat[0])
        self.note("dispatched", number)
        following = ("read", min(number + 1, self._batches - 1))
        with self._changed:
            assert self._changed.wait_for(lambda: following in self.events, timeout=10)
        return {"descriptor": Result(self, number)}


class Result:
    """What a step gives before it is fetched."""

    def __init__(self, recorder, number):
        self._recorder, self._number = recorder, number

    def __array__(self, dtype=None, copy=None):
        self._recorder.note("fetched", self._number)
        return np.full((1, BATCH, 1), self._number, np.float32)


@pytest.fixture(scope="module")
def recorded():
    recorder = Recorder(batches=10)
    embedding = BatchedEmbedding(tiny.model("baseline"), {}, BATCH)
    embedding._step = recorder.step
    found = embedding(recorder)["descriptor"]
    np.testing.assert_array_equal(found[:, 0], np.repeat(np.arange(10), BATCH))
    return recorder.events


def test_the_next_batch_is_dispatched_before_this_one_is_fetched(recorded):
    for number in range(9):
        assert recorded.index(("dispatched", number + 1)) < recorded.index(("fetched", number))


def test_only_a_few_batches_are_held_at_a_time(recorded):
    held = np.cumsum([{"read": 1, "fetched": -1}.get(event, 0) for event, _ in recorded])
    assert held.max() <= 5
    assert held[-1] == 0


def test_only_the_files_of_a_slice_are_decoded(monkeypatch):
    decoded = []

    def read(path):
        decoded.append(str(path))
        return b"", Image.new("RGB", (WIDTH, HEIGHT))

    monkeypatch.setattr(pictures, "read_image", read)
    with ThreadPoolExecutor(1) as pool:
        images = pictures.sized(map(str, range(100_000)), (WIDTH, HEIGHT), pool)
        assert len(images) == 100_000
        assert decoded == []
        assert images[4:7].shape == (3, HEIGHT, WIDTH, 3)
        assert decoded == ["4", "5", "6"]


@pytest.mark.parametrize("phase", ["base", "full"])
def test_descriptors_of_bfloat16_are_near_those_of_float32(phase):
    # In a pose net of four channels a layer, as elsewhere in these tests, rounding does not
    # average out: there single rows differ by 0.03.
    sizes = dataclasses.replace(tiny.SIZES, pose_width=0.125)
    config = dataclasses.replace(info(phase).config, model=sizes)
    checkpoint = dataclasses.replace(info(phase), config=config)
    variables = numpy_variables(checkpoint.model())
    single, half = (
        Embedder(checkpoint, variables, dtype=dtype).embed(random_images(BATCH))
        for dtype in (None, "bfloat16")
    )
    assert half.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, rtol=1e-5)
    assert 0 < np.linalg.norm(half - single, axis=1).max() < 2e-2


def test_another_checkpoint_than_the_last_or_best_is_refused(workdir):
    with pytest.raises(InputError, match='which is "last" or "best", got \'oldest\''):
        load(workdir, which="oldest")


def test_a_phase_without_descriptors_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("fgsam_jax.retrieval.embedder.restore", lambda *_: (info("pose"), {}, 1))
    with pytest.raises(InputError, match=r"the phase pose of .* gives no descriptors"):
        load(tmp_path, phase="pose")


def test_an_unknown_dtype_is_refused(workdir):
    with pytest.raises(InputError, match=r"dtype is .* got 'float16'"):
        load(workdir, dtype="float16")


SHARED = """
import sys
import jax
port, process, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process)
import numpy as np
import tiny
from jax.experimental import multihost_utils
from test_embedder import BatchedEmbedding, Embedder, InputError, info
model = tiny.model("baseline")
variables = tiny.numpy_variables(model)
images = np.load(f"{folder}/images.npy", mmap_mode="r")
mesh = jax.sharding.Mesh(jax.devices(), ("devices",))
everywhere = multihost_utils.host_local_array_to_global_array(
    variables, mesh, jax.sharding.PartitionSpec()
)
for count, state in {1: variables, 11: everywhere, 21: variables}.items():
    found = BatchedEmbedding(model, state, 4)(images[:count])
    np.savez(f"{folder}/{process}-{count}", **{k: found[k] for k in ("descriptor", "plenary")})
try:
    Embedder(info("base"), variables).embed([f"{folder}/there.png", f"{folder}/absent.png"])
except InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What two processes of two devices each say and find for 1, 11 and 21 images."""
    folder = tmp_path_factory.mktemp("shared")
    np.save(folder / "images.npy", random_images(21))
    Image.fromarray(random_images(1)[0]).save(folder / "there.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = os.environ["XLA_FLAGS"].replace("count=4", "count=2")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED, str(port), str(process), folder],
            env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        said = [process.communicate(timeout=120) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], said
    return folder, [out for out, _ in said]


@pytest.mark.parametrize("count", [1, 11, 21])
def test_two_processes_find_together_what_one_finds(shared, count):
    folder, _ = shared
    model = tiny.model("baseline")
    alone = BatchedEmbedding(model, numpy_variables(model), 4)(random_images(21)[:count])
    for process in range(2):
        found = np.load(folder / f"{process}-{count}.npz")
        for name in ("descriptor", "plenary"):
            assert found[name].shape == alone[name].shape
            np.testing.assert_allclose(found[name], alone[name], atol=1e-6)


def test_what_one_process_cannot_read_ends_the_work_of_all(shared):
    _, (first, second) = shared
    assert "process 1 failed" in first
    assert "absent.png cannot be read: No such file" in second
