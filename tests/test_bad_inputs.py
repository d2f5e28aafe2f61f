"""A catalogue of what users get wrong: each ends in one line and a status, without a traceback.

A new entry is one line of FLAGS, LINES, FILES or WEIGHTS, or one function of DATA: what is given,
and a part of what is told.
"""

import gc
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest
from absl import flags, logging
from PIL import Image

from fgsam_jax import main
from fgsam_jax.runtime import cli, entry

ROOT = Path(__file__).parents[1]
GOOD = """
from pathlib import Path
from fgsam_jax.config import *
def get_config():
    config = Config(
        data=Data("folder", "{place}/own.csv", records="{place}/records", height=32, width=16),
        pose_data=PoseData("folder", "{place}/own.csv"),
        model=Model("resnet10", 8, "small", 1, 0.0625, 3, sketch=64, part_size=8, plenary_size=16),
        phases=(Phase("base", "Base", "baseline", batch=4),),
        log=Log(every=1),
    )
    phase = config.phases[0]
    {line}
    return config
"""

# Flags behind --config good.py.
FLAGS = [
    ("--modee=eval", "Unknown command line flag 'modee'"),
    ("--mode=test", "--mode=test: value should be one of <train|eval>"),
    ("--mode", "--mode"),
    ("surplus", "unknown argument 'surplus'"),
    ("-", "unknown argument '-'"),
    ("--config.nonsense=1", "Field nonsense not found"),
    ("--config.model.nonsense=1", "Field nonsense not found"),
    ("--config.phases[9].epochs=1", "index out of range"),
    ("--config.phases[x].epochs=1", "the configuration cannot be read"),
    ("--config.phases[=1", "the configuration cannot be read"),
    ("--config.phases[0]=3", "config.phases[0]"),
    ("--config.phases=()", "config.phases is empty"),
    ("--config.phases=(1,2)", "config.phases[0] must be a Phase, got 1"),
    ("--config.model=none", "None is not allowed"),
    ("--config.model=resnet50", "resnet50"),
    ("--config.seed=many", "--config.seed=many"),
    ("--config.seed=", "--config.seed="),
    ("--config.seed=1.5", "--config.seed=1.5"),
    ("--config.seed=-1", "config.seed must be 0 or more and below 2**32, got -1"),
    ("--config.seed=4294967296", "config.seed must be 0 or more"),
    ("--config.seed=9223372036854775808", "config.seed must be 0 or more"),
    ("--config.seed=4294967295 --config.repeats=2", "raises a seed to 2**32"),
    ("--config.data.split_seed=-1", "config.data.split_seed must be"),
    ("--config.data.height=0", "config.data.height must be 1 to 8192, got 0"),
    ("--config.data.height=100000", "config.data.height must be 1 to 8192"),
    ("--config.data.name=market1510", "market1510"),
    ("--config.data.source=absent", "absent"),
    ("--config.data.attributes=absent.mat", "absent.mat"),
    ("--config.pose_data.width=12", "config.pose_data.width must be 0 or a multiple of 8"),
    ("--config.pose_data.sigma=nan", "config.pose_data.sigma must be finite, got nan"),
    ("--config.pose_data.sigma=0", "config.pose_data.sigma must be 0.1 to 1000"),
    ("--config.model.backbone=resnet51", "resnet51"),
    ("--config.model.dtype=float16", "is one of float32, bfloat16; got 'float16'"),
    ("--config.model.last_stride=0", "config.model.last_stride must be 1 or 2, got 0"),
    ("--config.model.last_stride=3", "config.model.last_stride must be 1 or 2, got 3"),
    ("--config.model.pose_width=0", "config.model.pose_width must be above 0"),
    ("--config.model.pose_width=-1", "config.model.pose_width must be above 0"),
    ("--config.model.pose_kernel=4", "config.model.pose_kernel must be an odd number"),
    ("--config.model.sketch=8589934592", "config.model.sketch must be 1 to 1048576"),
    ("--config.model.sketch=0", "config.model.sketch must be 1"),
    ("--config.model.parse=maybe", "maybe"),
    ("--config.init.backbone=absent.safetensors", "absent.safetensors"),
    ("--config.init.backbone=hf://nobody", "hf://nobody"),
    ("--config.loss.margin=nan", "config.loss.margin must be finite, got nan"),
    ("--config.loss.margin=inf", "config.loss.margin must be finite, got inf"),
    ("--config.loss.margin=-1", "config.loss.margin must be 0 to"),
    ("--config.loss.bound=-0.1", "config.loss.bound must be 0 to"),
    ("--config.loss.gamma=-2", "config.loss.gamma must be 0 to 16"),
    ("--config.loss.gamma=1e9", "config.loss.gamma must be 0 to 16"),
    ("--config.loss.mining=soft", "config.loss.mining is one of hard, all"),
    ("--config.phases[0].name=..", "config.phases[0].name must be a name"),
    ("--config.phases[0].name=", "config.phases[0].name must be a name"),
    ("--config.phases[0].name=a/b", "config.phases[0].name must be a name"),
    (f"--config.phases[0].name={'a' * 300}", "config.phases[0].name must be a name"),
    ("--config.phases[0].title=a\nb", "config.phases[0].title must be one line"),
    ("--config.phases[0].start_from=pose", "start_from is one of none"),
    ("--config.phases[0].start_from=3", "start_from[0] must be text, got 3"),
    ("--config.phases[0].epochs=0", "config.phases[0].epochs must be 1"),
    ("--config.phases[0].batch=3", "a batch of 3 cannot be spread over 4 devices"),
    ("--config.phases[0].batch=64", "a batch of 64 needs as many images"),
    ("--config.phases[0].batch=99999999", "config.phases[0].batch must be 1 to 65536"),
    ("--config.phases[0].accumulate=3", "is not a multiple of accumulate=3"),
    ("--config.phases[0].images_per_identity=3", "is not a multiple of images_per_identity=3"),
    ("--config.phases[0].triplet=focal", "needs images_per_identity of 2 or more"),
    ("--config.phases[0].learning_rate=nan", "learning_rate must be finite, got nan"),
    ("--config.phases[0].learning_rate=inf", "learning_rate must be finite, got inf"),
    ("--config.phases[0].learning_rate=0", "learning_rate must be above 0"),
    ("--config.phases[0].learning_rate=-1e-3", "learning_rate must be above 0"),
    ("--config.phases[0].warmup_epochs=nan", "warmup_epochs must be finite, got nan"),
    ("--config.phases[0].warmup_epochs=-1", "warmup_epochs must be 0 to"),
    ("--config.phases[0].halve_every=0", "halve_every must be 1"),
    ("--config.evaluation_batch=0", "config.evaluation_batch must be 1 to 65536"),
    ("--config.evaluation_batch=1000000000000", "config.evaluation_batch must be 1 to 65536"),
    ("--config.restore=oldest", "config.restore is one of last, best"),
    ("--config.restore=best", "config.restore=best chooses among evaluations"),
    ("--config.log.evaluate_every=-1", "config.log.evaluate_every must be 0"),
    ("--config.log.keep=0", "config.log.keep must be 1"),
    ("--config.synthetic.folder={place}/a --config.synthetic.cameras=99", "cameras is 99"),
    ("--config.synthetic.folder={place}/own.csv/a", "own.csv"),
    ("--workdir={place}/own.csv", "own.csv"),
    (f"--workdir={{place}}/{'a' * 300}", "File name too long"),
    ("--mode=eval", "holds no checkpoint"),
    ("--num_processes=2", "--coordinator, --num_processes and --process_id"),
    ("--num_processes=0", "num_processes"),
    ("--process_id=-1", "process_id"),
    ("--coordinator=host0 --num_processes=2 --process_id=0", "--coordinator is host:port"),
    ("--coordinator=host0:0 --num_processes=2 --process_id=0", "a port of 1 to 65535"),
    ("--coordinator=host0:99999 --num_processes=2 --process_id=0", "a port of 1 to 65535"),
    ("--coordinator=:9911 --num_processes=2 --process_id=0", "--coordinator is host:port"),
]

# Lines of a configuration file, in whose types `config_flags` has no say.
LINES = [
    ("config.seed = '3'", "config.seed must be a whole number, got '3'"),
    ("config.seed = True", "config.seed must be a whole number, got True"),
    ("config.seed = 3.0", "config.seed must be a whole number, got 3.0"),
    ("config.seed = None", "config.seed must be a whole number, got None"),
    ("config.references = 1", "config.references must be True or False, got 1"),
    ("config.phases = [phase]", "config.phases must be a tuple, got [Phase"),
    ("config.phases = phase", "config.phases must be a tuple"),
    ("config.phases = (phase, phase)", "different names, got base, base"),
    ("config.phases = ()", "config.phases is empty"),
    ("config.model = None", "config.model must be a Model, got None"),
    ("config.model = {{'width': 3}}", "config.model must be a Model"),
    ("config.model = Model", "config.model must be a Model"),
    ("config.model.widht = 3", "config.model has no option widht"),
    ("config.phasess = ()", "config has no option phasess"),
    ("config.data.source = Path('data')", "config.data.source must be text"),
    ("config.data.source = 'a' + chr(0)", "config.data.source cannot hold a zero byte"),
    ("config.data.source = None", "config.data.source must be text, got None"),
    ("config.model.dtype = float", "config.model.dtype is one of"),
    ("config.loss.margin = '0.5'", "config.loss.margin must be a number, got '0.5'"),
    ("config.loss.margin = 10**400", "config.loss.margin must be finite"),
    ("config.loss.margin = float('nan')", "config.loss.margin must be finite"),
    ("phase.epochs = 2.5", "config.phases[0].epochs must be a whole number, got 2.5"),
    ("phase.start_from = 'pose'", "config.phases[0].start_from must be a tuple, got 'pose'"),
    ("phase.start_from = ['pose']", "config.phases[0].start_from must be a tuple"),
    ("phase.learning_rate = '1e-3'", "learning_rate must be a number, got '1e-3'"),
    ("phase.flip = 'no'", "config.phases[0].flip must be True or False, got 'no'"),
    ("phase.model = 'resnet'", "config.phases[0].model is one of"),
    ("phase.epoch = 3", "config.phases[0] has no option epoch"),
    ("Phase(modell='pose')", "bad.py, line 13: TypeError"),
    ("Config(epochs=3)", "bad.py, line 13: TypeError"),
    ("phaes.epochs = 3", "bad.py, line 13: NameError"),
    ("config.phases[3].epochs = 1", "bad.py, line 13: IndexError"),
    ("1 / 0", "bad.py, line 13: ZeroDivisionError"),
    ("raise ValueError('two' + chr(10) + 'lines')", "bad.py, line 13: ValueError: two lines"),
    ("import nowhere_to_be_found", "bad.py, line 13: ModuleNotFoundError"),
    ("return {{'seed': 3}}", "needs a function get_config that returns a Config"),
    ("return", "needs a function get_config that returns a Config"),
    ("return Config", "needs a function get_config that returns a Config"),
]

# Whole configuration files.
FILES = [
    (b"def get_config(:\n", "bad.py, line 1: SyntaxError"),
    (b"def get_config():\n  return 3\n    x\n", "bad.py, line 3: IndentationError"),
    (b"x = 3\n", "needs a function get_config"),
    (b"", "needs a function get_config"),
    (b"get_config = 3\n", "TypeError"),
    (b"\x00\x01\x02", "bad.py"),
    (b"\xff\xfe garbage", "bad.py"),
    (b"# " + b"a" * 2**21, "at most 1,048,576 are read"),
    (b"import flax.nowhere\n", "bad.py, line 1: ModuleNotFoundError"),
    (b"def get_config(size):\n  return int(size)\n", "bad.py: TypeError"),
]


def rewritten(change):
    """The list of images, changed."""

    def make(place):
        (place / "bad.csv").write_text(change((place / "own.csv").read_text()))
        return f"--config.data.source={place}/bad.csv"

    return make


def no_folder(place):
    (place / "empty").mkdir()
    return f"--config.data.source={place}/empty"


def a_file_for_a_folder(place):
    return f"--config.data.name=market1501 --config.data.source={place}/own.csv"


def an_image_of_text(place):
    (place / "im" / "text.png").write_text("no picture")
    return rewritten(lambda text: text.replace("im/0_0.png", "im/text.png"))(place)


def an_empty_image(place):
    (place / "im" / "nothing.png").write_bytes(b"")
    return rewritten(lambda text: text.replace("im/0_0.png", "im/nothing.png"))(place)


def joints(content):
    """A file of joints for the people of the list."""

    def make(place):
        (place / "joints.json").write_bytes(content)
        given = f"--config.pose_data.joints={place}/joints.json --config.phases[0].model=pose"
        return f"{given} --config.pose_data.source={place}/own.csv"

    return make


DATA = [
    (no_folder, "empty"),
    (a_file_for_a_folder, "own.csv"),
    (an_image_of_text, "text.png"),
    (an_empty_image, "nothing.png"),
    (rewritten(lambda text: ""), "bad.csv"),
    (rewritten(lambda text: text.replace("path", "file", 1)), "bad.csv"),
    (rewritten(lambda text: text.replace("identity", "who", 1)), "bad.csv"),
    (rewritten(lambda text: text.replace("im/0_0", "im/absent")), "absent.png"),
    (rewritten(lambda text: text.replace("train", "trian")), "trian"),
    (rewritten(lambda text: text.replace("query", "gallery")), "quer"),
    (rewritten(lambda text: text + "\nim/0_0.png,p00,A,train"), "im/0_0.png"),
    (joints(b"{"), "joints.json"),
    (joints(b""), "joints.json"),
    (joints(b"[1, 2]"), "joints.json"),
    (joints(b"\xff"), "joints.json"),
]

# The tool that converts weights.
WEIGHTS = [
    ("", "the following arguments are required: SOURCE, --to"),
    ("{place}/own.csv", "the following arguments are required: --to"),
    ("absent.pth --to {place}/out.safetensors", "absent.pth"),
    ("hf://nobody --to {place}/out.safetensors", "hf://nobody is no place on the hub"),
    ("{place}/own.csv --to {place}/out.safetensors", "own.csv"),
    ("{place}/im --to {place}/out.safetensors", "im"),
    ("{place}/own.csv --to {place}/out.safetensors --which=oldest", "invalid choice: 'oldest'"),
    ("{place}/own.csv --to {place}/out.safetensors --two", "unrecognized arguments: --two"),
    ("{place}/empty.pth --to {place}/out.safetensors", "empty.pth"),
    ("{place}/text.pth --to {place}/out.safetensors", "text.pth"),
    ("{place}/text.safetensors --to {place}/out.safetensors", "text.safetensors"),
    ("{place}/text.caffemodel --to {place}/out.safetensors", "text.caffemodel"),
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Twelve people of four images, and files that hold nothing of use."""
    place = tmp_path_factory.mktemp("inputs")
    (place / "im").mkdir()
    rows = ["path,identity,camera,split"]
    for person in range(6):
        for number in range(4):
            name = f"im/{person}_{number}.png"
            Image.new("RGB", (16, 32), (40 * person, 60 * number, 9)).save(place / name)
            split = "train" if person < 3 else "query" if number == 0 else "gallery"
            rows.append(f"{name},p{person:02},{'AB'[number % 2]},{split}")
    (place / "own.csv").write_text("\n".join(rows))
    for name in ("text.pth", "text.safetensors", "text.caffemodel"):
        (place / name).write_text("These are no weights, they only have the name of some. " * 9)
    (place / "empty.pth").write_bytes(b"")
    return place


@pytest.fixture
def place(originals, tmp_path):
    return shutil.copytree(originals, tmp_path / "here", copy_function=os.link)


@pytest.fixture
def told(monkeypatch, capfd):
    """What a command says last before it ends, from its arguments."""
    verbosity, thresholds = logging.get_verbosity(), gc.get_threshold()

    def run(command, arguments):
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        with pytest.raises(SystemExit) as stopped:
            command()
        printed = capfd.readouterr().err
        assert stopped.value.code in (1, 2), printed
        assert "Traceback" not in printed
        lines = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, printed
        assert printed.rstrip().endswith(lines[0])
        assert len(lines[0]) < 700
        return lines[0]

    yield run
    for name in [name for name in flags.FLAGS if name.startswith("config.")]:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    logging.set_verbosity(verbosity)
    gc.set_threshold(*thresholds)


def train():
    cli.launch(main.main)


def convert():
    path = ROOT / "tools" / "convert_weights.py"
    spec = importlib.util.spec_from_file_location("convert_weights", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with entry.one_line():
        tool.main()


def with_config(place, text, given=""):
    (place / "bad.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    words = [word.replace("{place}", str(place)) for word in given.split(" ") if word]
    return [f"--config={place}/bad.py", f"--workdir={place}/run", *words]


def arguments(kind, given, place):
    """The command line of an entry."""
    good = GOOD.replace("{place}", str(place))
    if kind == "flags":
        return with_config(place, good.format(line="pass"), given)
    if kind == "line":
        return with_config(place, good.format(line=given.format()))
    if kind == "file":
        return with_config(place, given)
    if kind == "data":
        return with_config(place, good.format(line="pass"), given(place))
    return [word.replace("{place}", str(place)) for word in given.split()]


CATALOGUE = [
    pytest.param(kind, given, message, id=f"{kind}-{number}")
    for kind, entries in {
        "flags": FLAGS, "line": LINES, "file": FILES, "data": DATA, "weights": WEIGHTS
    }.items()
    for number, (given, message) in enumerate(entries)
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "message"), CATALOGUE)
def test_a_bad_input_ends_in_one_line(kind, given, message, place, told):
    line = told(convert if kind == "weights" else train, arguments(kind, given, place))
    assert message in line


def test_the_catalogue_has_a_hundred_entries():
    assert len(CATALOGUE) >= 100
