"""Broken, malicious, partial and mistaken files of weights: one clear line, or a right result."""

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.weights import hub, names, readers
from fgsam_jax.weights.convert import import_weights
from fgsam_jax.weights.sources import recognise

torch = pytest.importorskip("torch", reason='PyTorch is not installed: pip install -e ".[convert]"')
foreign = pytest.importorskip("foreign")
models = pytest.importorskip("torch_models")

NET = "resnet18"


@pytest.fixture(scope="module")
def net():
    """A state dict of ResNet-18 with a classifier."""
    return foreign.state(models.randomise(models.ResNet(18, classes=3)))


@pytest.fixture
def arrays(net):
    return {name: value.numpy().copy() for name, value in net.items()}


def refused(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def read(path):
    return readers.read(path)


class Opens:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_with_code_is_refused_unread(tmp_path, old):
    mark = tmp_path / "ran"
    path = tmp_path / "a.pth"
    held = {"conv1.weight": torch.ones(2), "note": Opens(mark)}
    torch.save(held, path, _use_new_zipfile_serialization=not old)
    refused(lambda: read(path), r"holds more than weights.*could run code: refused unread")
    path.write_bytes(pickle.dumps(Opens(mark)))
    refused(lambda: read(path), r"could run code: refused unread|no whole file")
    path.write_bytes(pickle.dumps(Opens(mark), protocol=0))
    refused(lambda: read(path), r"no file of weights that is known here")
    assert not mark.exists()


def test_a_whole_module_is_refused_by_the_name_of_its_class(tmp_path):
    torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / "a.pth")
    refused(lambda: read(tmp_path / "a.pth"), r"holds more than weights \(torch.nn.*Conv2d\)")


def test_an_array_of_objects_is_refused_unread(tmp_path):
    mark = tmp_path / "ran"
    np.save(tmp_path / "conv1_0.npy", np.array([Opens(mark)], object), allow_pickle=True)
    refused(lambda: read(tmp_path), r"conv1_0.npy is no whole array of numbers")
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["pth", "old.pth", "safetensors", "caffemodel"])
@pytest.mark.parametrize("share", [0.0001, 0.3, 0.999])
def test_a_truncated_file_is_refused(kind, share, net, tmp_path):
    small = {name: value for name, value in net.items() if name.startswith("layer1")}
    path = tmp_path / f"a.{kind}"
    if kind == "safetensors":
        foreign.safetensors(path, small)
    elif kind == "caffemodel":
        foreign.caffemodel(path, [(name, [value.numpy()]) for name, value in small.items()])
    else:
        torch.save(small, path, _use_new_zipfile_serialization=kind == "pth")
    whole = path.read_bytes()
    assert read(path)
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(lambda: read(path), r"no whole|holds no arrays|no file of weights")


def test_a_truncated_npy_and_one_that_declares_too_much_are_refused(tmp_path):
    np.save(tmp_path / "conv1_0.npy", np.ones((7, 7, 3, 64), np.float32))
    whole = (tmp_path / "conv1_0.npy").read_bytes()
    (tmp_path / "conv1_0.npy").write_bytes(whole[:-4])
    refused(lambda: read(tmp_path), "no whole array")
    (tmp_path / "conv1_0.npy").write_bytes(whole.replace(b"(7, 7, 3, 64)", b"(9**9, 3, 64)"))
    refused(lambda: read(tmp_path), "no whole array")
    (tmp_path / "conv1_0.npy").write_bytes(whole.replace(b"(7, 7, 3, 64)", b"(79999999999,)"[:13]))
    refused(lambda: read(tmp_path), "no whole array")


@pytest.mark.parametrize(
    "head",
    [
        foreign.header('{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}', 2**62),
        foreign.header(
            '{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}'
        ),
        foreign.header(
            '{"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 0]}}'
        ),
        foreign.header("{" * 5000),
        foreign.header("[]"),
        b"\x01",
    ],
)
def test_a_safetensors_header_that_declares_what_is_not_there_is_refused(head, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(head)
    refused(lambda: read(tmp_path / "a.safetensors"), "no whole safetensors file")


def test_a_compressed_or_oversized_member_of_a_pth_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/data/0", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    refused(lambda: read(path), r"bytes declare 500000.*or are compressed")
    # Stored, but with a size in the directory that the file does not have.
    torch.save({"a": torch.ones(100)}, path)
    whole = bytearray(path.read_bytes())
    place = whole.rfind(b"PK\x01\x02")
    whole[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(whole)
    refused(lambda: read(path), "declare 2147|no whole file")


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_many_names_of_one_storage_are_refused(kind, tmp_path):
    shared = torch.zeros(100_000, dtype=kind)
    torch.save({f"layer1.{i}.w": shared.view(-1) for i in range(70)}, tmp_path / "a.pth")
    refused(lambda: read(tmp_path / "a.pth"), "declares more than .* 4 times its own")
    torch.save({"a": shared, "b": shared.view(10, -1)}, tmp_path / "a.pth")
    assert set(read(tmp_path / "a.pth")) == {"a", "b"}


def test_a_file_that_holds_itself_or_nests_without_end_is_refused(tmp_path):
    held = {}
    held["model"] = held
    torch.save(held, tmp_path / "a.pth")
    refused(lambda: read(tmp_path / "a.pth"), "holds no weights under 8 names in each other")
    deep = {"weight": torch.ones(1)}
    for _ in range(6):
        deep = {"model": deep}
    torch.save(deep, tmp_path / "a.pth")
    assert set(read(tmp_path / "a.pth")) == {"weight"}


class Scalar:
    """Pickled, a value of NumPy; without its bytes the file would not hold what it declares."""

    def __init__(self, *given):
        self.given = given

    def __reduce__(self):
        return (np._core.multiarray.scalar, self.given)


def test_a_value_of_numpy_is_as_large_as_its_bytes(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(1), "epoch": np.float64(3)}, path)
    assert set(read(path)) == {"a"}
    for given in ((np.dtype("f8"),), (np.dtype("f8"), b"1234"), (np.dtype("V2147483000"),)):
        torch.save({"a": torch.ones(1), "epoch": Scalar(*given)}, path)
        refused(lambda: read(path), "no whole file of PyTorch|refused unread")


def test_only_regular_files_are_read_as_weights(tmp_path):
    for name in ("conv1_0.npy", "a.pth", "a.safetensors", "a.caffemodel"):
        os.mkfifo(tmp_path / name)
        refused(lambda name=name: read(tmp_path / name), "it is no regular file")
    refused(lambda: read(tmp_path), "conv1_0.npy cannot be read: it is no regular file")
    refused(lambda: read(Path("/dev/zero")), "it is no regular file")
    refused(lambda: hub.locate(f"/dev/zero#sha256={'0' * 64}"), "it is no regular file")


def test_a_safetensors_with_two_arrays_of_one_name_is_refused(tmp_path):
    entry = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    (tmp_path / "a.safetensors").write_bytes(foreign.header(f"{{{entry}, {entry}}}") + bytes(4))
    refused(lambda: read(tmp_path / "a.safetensors"), "two arrays of one name|no whole")


def test_names_are_shown_short_and_printable(arrays, capsys):
    arrays["evil\n\x1b[31m" + "x" * 1_000_000] = np.ones(1, np.float32)
    refused(lambda: import_weights(arrays), r"the name evil \\x1b\[31mx+ ... x+$")
    arrays = {name: value for name, value in arrays.items() if "evil" not in name}
    arrays["fc.\x1b[31m"] = np.ones(1, np.float32)
    assert all(line.isprintable() for line in import_weights(arrays).lines)


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    torch.save({"conv1.weight": torch.ones(1).expand(10**6, 10**5)}, tmp_path / "a.pth")
    refused(lambda: read(tmp_path / "a.pth"), r"conv1.weight declares \(1000000, 100000\)")


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (foreign.blob_message(np.ones(4), shape=(2**40, 2**40)), "declares .* and has 4 numbers"),
        (foreign.blob_message(np.ones(4), shape=(5,)), r"a, blob 0 declares \(5,\) and has 4"),
        (foreign.varint(5 << 3 | 2) + foreign.varint(2**40), "bytes are declared and 0 are left"),
        (foreign.blob_message(np.ones(1), shape=(1,) * 70), "declares more than 32 axes"),
        (foreign.blob_message(np.ones(1), shape=(1,) * 50_000), "declares more than 32 axes"),
        (b"\x0b", "begins no field"),
        (b"\xff" * 11, "begins no number"),
    ],
)
def test_a_caffemodel_that_declares_what_is_not_there_is_refused(blob, message, tmp_path):
    layer = foreign.field(1, b"a") + foreign.field(7, blob)
    (tmp_path / "a.caffemodel").write_bytes(foreign.field(100, layer))
    refused(lambda: read(tmp_path / "a.caffemodel"), message)


def test_a_caffemodel_with_two_layers_of_one_name_is_refused(tmp_path):
    path = foreign.caffemodel(tmp_path / "a.caffemodel", [("a", [np.ones(1)])] * 2)
    refused(lambda: read(path), "a has its blob 0 twice")


def test_a_caffemodel_in_double_precision_is_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 3))
    blob = foreign.field(7, foreign.field(1, b"\x02\x03")) + foreign.field(8, values.tobytes())
    layer = foreign.field(1, b"a") + foreign.field(7, blob)
    (tmp_path / "a.caffemodel").write_bytes(foreign.field(100, layer))
    np.testing.assert_array_equal(read(tmp_path / "a.caffemodel")["a_0"], values)


def test_half_precision_of_a_folder_becomes_float32_exactly(caffe, tmp_path):
    for name, blob in caffe.items():
        np.save(tmp_path / f"{name}.npy", blob.astype(np.float16))
    found = import_weights(read(tmp_path)).weights["params", "conv1", "kernel"]
    assert found.dtype == np.float32
    expected = caffe["conv1_0"].astype(np.float16).astype(np.float32).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(found, expected)


def test_random_bytes_are_refused_whatever_the_file_is_called(tmp_path):
    random = np.random.default_rng(0)
    for index in range(40):
        for ending in ("safetensors", "caffemodel", "pth"):
            start = random.choice([b"", b"PK\x03\x04", b"\x80\x02", b"\xa2\x06\x10"])
            path = tmp_path / f"{index}.{ending}"
            path.write_bytes(start + random.integers(0, 256, 300).astype(np.uint8).tobytes())
            refused(lambda path=path: import_weights(read(path)), ".")


def test_a_web_page_saved_as_weights_is_refused(tmp_path):
    (tmp_path / "a.pth").write_text("<!doctype html>")
    refused(lambda: read(tmp_path / "a.pth"), r"needed .safetensors, .pth, .caffemodel or a folder")
    refused(lambda: read(tmp_path / "b.pth"), "no file or folder")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(arrays, value):
    arrays["layer2.1.bn1.running_var"][3] = value
    refused(
        lambda: import_weights(arrays), "layer2.1.bn1.running_var holds numbers that are not finite"
    )


def test_a_number_beyond_float32_is_refused_by_name(arrays):
    arrays["bn1.weight"] = arrays["bn1.weight"].astype(np.float64)
    arrays["bn1.weight"][0] = 1e39
    refused(lambda: import_weights(arrays), "bn1.weight holds numbers that are not finite")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("write", [foreign.pth, foreign.safetensors])
def test_half_precision_becomes_float32_exactly(kind, write, net, tmp_path):
    half = {n: v.to(kind) if v.is_floating_point() else v for n, v in net.items()}
    found = import_weights(read(write(tmp_path / "a.safetensors" if write is foreign.safetensors
                               else tmp_path / "a.pth", half))).weights  # fmt: skip
    rule = names.torch_name(NET)
    for path, value in found.items():
        expected = half[rule(path)].float().numpy()
        expected = expected.transpose(2, 3, 1, 0) if expected.ndim == 4 else expected
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected)


def test_numbers_of_another_kind_are_refused(arrays):
    arrays["conv1.weight"] = arrays["conv1.weight"].astype(np.int8)
    refused(
        lambda: import_weights(arrays), "conv1.weight holds int8, needed floating-point numbers"
    )
    arrays["conv1.weight"] = np.zeros((64, 3, 7, 7), ml_dtypes.bfloat16)
    assert import_weights(arrays).weights["params", "conv1", "kernel"].dtype == np.float32


def test_a_missing_weight_is_named(arrays):
    del arrays["layer3.0.conv2.weight"]
    refused(
        lambda: import_weights(arrays), "should also have layer3.0.conv2.weight: the file is incom"
    )
    found = import_weights(arrays, partial=True)
    assert found.missing == [("params", "layer3_0", "conv2", "kernel")]
    assert "missing in the source: layer3.0.conv2.weight" in found.lines
    assert found.lines[-1].endswith("layer3_0 (1)")


def test_an_unknown_weight_is_named(arrays):
    arrays["layer1.0.se.fc1.weight"] = np.ones(3, np.float32)
    refused(
        lambda: import_weights(arrays), "ResNet-18 has nothing of the name layer1.0.se.fc1.weight"
    )


def test_a_wrong_shape_is_named_with_both(arrays):
    arrays["layer1.0.conv1.weight"] = np.ones((64, 32, 3, 3), np.float32)
    refused(
        lambda: import_weights(arrays),
        r"layer1.0.conv1.weight has the shape \(64, 32, 3, 3\), needed \(64, 64, 3, 3\)",
    )


def test_a_model_that_is_not_known_is_told_what_is(arrays):
    refused(
        lambda: import_weights({"blocks.0.attn": np.ones(3)}),
        "a ResNet of torchvision, timm.*blocks",
    )
    for index in range(9):
        arrays[f"layer4.{index}.conv1.weight"] = np.ones((512, 512, 3, 3), np.float32)
    refused(lambda: import_weights(arrays), r"has \[2, 2, 2, 9\] basic blocks")


def test_vgg_19_with_normalisations_is_refused():
    refused(
        lambda: import_weights(
            {"features.0.weight": np.ones(3), "features.1.running_mean": np.ones(3)}
        ),
        "VGG-19 has nothing of the name features.1.running_mean",
    )


@pytest.fixture(scope="module")
def caffe():
    """The blobs of a Caffe ResNet-50 by their names."""
    with torch.no_grad():
        layers = foreign.caffe_blobs(models.ResNet(50, "caffe"))
    return {f"{name}_{i}": blob for name, blobs in layers for i, blob in enumerate(blobs)}


def test_a_caffe_normalisation_without_its_factor_is_refused(caffe):
    blobs = {name: blob for name, blob in caffe.items() if name != "bn3b_branch2a_2"}
    refused(lambda: import_weights(blobs), "bn3b_branch2a_2 should be one number above 0")
    blobs["bn3b_branch2a_2"] = np.zeros(1, np.float32)
    refused(lambda: import_weights(blobs), "bn3b_branch2a_2 should be one number above 0")


def test_caffes_statistics_are_divided_and_a_bias_is_taken_off(caffe):
    blobs = dict(caffe)
    blobs["bn_conv1_0"] = np.full(64, 6, np.float32)
    blobs["bn_conv1_1"] = np.full(64, 8, np.float32)
    blobs["bn_conv1_2"] = np.full(1, 2, np.float32)
    blobs["conv1_1"] = np.full(64, 0.5, np.float32)
    found = import_weights(blobs).weights
    np.testing.assert_array_equal(found["batch_stats", "bn1", "mean"], 2.5)
    np.testing.assert_array_equal(found["batch_stats", "bn1", "var"], 4)


def test_the_first_stages_serve_another_depth_where_they_agree(caffe):
    found = import_weights(caffe, variant="resnet101_caffe", partial=True)
    assert found.variant == "resnet101_caffe"
    modules = {path[1].split("_")[0] for path in found.weights}
    # Stages 1 and 2 have 3 and 4 blocks in both, stage 3 has 6 and 23.
    assert modules == {"conv1", "bn1", "layer1", "layer2"}
    refused(lambda: import_weights(caffe, variant="resnet101_caffe"), "--partial takes the stem")
    refused(
        lambda: import_weights(caffe, variant="osnet_x1_0", partial=True), "do not fit osnet_x1_0"
    )
    refused(lambda: import_weights(caffe, variant="resnet51"), "the backbone is one of resnet10")


def test_another_form_of_the_same_depth_takes_everything(arrays):
    found = import_weights(arrays, variant="resnet18_fastreid")
    assert (found.variant, found.missing) == ("resnet18_fastreid", [])


@pytest.mark.parametrize(
    ("before", "variant"),
    [
        ("", "resnet18"),
        ("backbone.", "resnet18_fastreid"),
        ("base.", "resnet18_strong_baseline"),
    ],
)
@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model.", "model._orig_mod.module."])
def test_wrappers_before_the_names_do_not_hide_the_form(arrays, before, variant, wrapper):
    wrapped = {wrapper + before + name: value for name, value in arrays.items() if "fc" not in name}
    wrapped[f"{wrapper}classifier.weight"] = np.ones((3, 512), np.float32)
    found = import_weights(wrapped)
    assert (found.variant, found.missing) == (variant, [])


def test_wrappers_before_the_pose_nets_names_are_no_part_of_them():
    rule = names.torch_name(names.OPENPOSE)
    own = [rule(path) for path in names.shapes(names.POSE, names.OPENPOSE)]
    for before in ("", "module.", "_orig_mod.module.model1_1."):
        source = recognise(dict.fromkeys(before + name for name in own))
        assert sorted(source.keys.values()) == sorted(before + name for name in own)


def test_a_prefix_that_tells_no_form_is_a_question_and_the_variant_its_answer(arrays):
    wrapped = {f"student.net.{name}": value for name, value in arrays.items()}
    refused(lambda: import_weights(wrapped), "begin with student.net., which does not .* --variant")
    for variant in ("resnet18", "resnet18_strong_baseline"):
        found = import_weights(wrapped, variant=variant)
        assert (found.variant, found.missing) == (variant, [])


def test_the_tool_ends_a_mistake_in_one_line_and_writes_nothing(net, tmp_path):
    tool = Path(__file__).parents[2] / "tools" / "convert_weights.py"
    source = foreign.pth(tmp_path / "a.pth", {k: v for k, v in net.items() if "layer4" not in k})
    target = tmp_path / "b.safetensors"
    command = [sys.executable, tool, source, "--to", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {source}: torchvision's ResNet-18 should also have")
    assert not target.exists()
