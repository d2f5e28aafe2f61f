import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

from fgsam_jax import main
from fgsam_jax.config import Log, Phase
from fgsam_jax.experiments import run
from fgsam_jax.retrieval.embedder import load
from fgsam_jax.runtime import cli as shared
from fgsam_jax.runtime.lock import sole_run

DEMO = Path(__file__).parents[1] / "configs" / "demo.py"
BASE = Phase("base", "Base", "baseline", batch=16)


@pytest.fixture
def command(monkeypatch, capfd):
    """What the command line does with a configuration and flags that were read already."""

    def run(config, workdir, mode="train"):
        monkeypatch.setattr(shared, "CONFIG", SimpleNamespace(value=config))
        monkeypatch.setattr(shared, "WORKDIR", SimpleNamespace(value=str(workdir)))
        monkeypatch.setattr(main, "_MODE", SimpleNamespace(value=mode))
        monkeypatch.setattr(main, "_several_processes", lambda: None)
        monkeypatch.setattr(shared.config_flags, "get_config_filename", lambda _: "tiny.py")
        monkeypatch.setattr(shared.flags, "FLAGS", {"config": None})
        monkeypatch.setattr(shared.flags, "mark_flag_as_required", lambda _: None)
        monkeypatch.setattr(shared.app, "run", lambda body, **_: body(["main"]))
        shared.launch(main.main)
        return capfd.readouterr().out

    return run


@pytest.fixture
def refused(command, capfd):
    """The one line that a mistake ends in."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            command(*arguments)
        assert stopped.value.code == 1
        line = capfd.readouterr().err.splitlines()[-1]
        assert line.startswith("error: ")
        return line

    return run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of the run that the first test makes and the later ones restore."""
    return tmp_path_factory.mktemp("run") / "base"


@pytest.fixture
def config(rendered):
    return tiny.config(rendered, (BASE,), log=Log(pictures=True), references=True)


def test_a_run_prints_and_writes_its_table_and_report(command, config, workdir):
    printed = command(config, workdir)
    assert "mean colour of the crop" in printed
    assert "untrained Base" in printed
    written = json.loads((workdir / "table.json").read_text())
    assert [row["title"] for row in written["rows"]][-1] == "Base"
    lists = json.loads((workdir / "pictures.json").read_text())["lists"]
    page = (workdir / "report.html").read_text()
    assert [one["group"] for one in lists] == ["best", "median", "worst"]
    assert all(one["query"]["name"] in page for one in lists)
    assert page.count("<img") == sum(1 + len(one["found"]) for one in lists)


def test_evaluation_gives_the_rows_of_training(command, config, workdir):
    command(config, workdir, "eval")
    trained, evaluated = (
        json.loads((workdir / name).read_text())["rows"]
        for name in ("table.json", "evaluation.json")
    )
    assert [row["evaluation"] for row in trained] == [row["evaluation"] for row in evaluated]


def test_a_checkpoint_of_another_model_is_refused(refused, config, workdir):
    wider = dataclasses.replace(config, model=dataclasses.replace(config.model, width=16))
    assert "is of another model" in refused(wider, workdir, "eval")


def test_evaluation_of_a_run_of_another_seed_is_refused(refused, config, workdir):
    other = dataclasses.replace(config, seed=9)
    assert "pass --config.seed=0" in refused(other, workdir, "eval")


def test_a_folder_of_another_configuration_is_refused(refused, config, workdir):
    changed = dataclasses.replace(config, seed=9)
    assert "another configuration (config.seed differs)" in refused(changed, workdir)


def test_a_run_that_the_disk_refuses_ends_in_one_line(refused, config, workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    (run / "table.json.part").mkdir()
    assert "table.json.part: Is a directory. Mend that" in refused(config, run)


def test_a_second_start_in_the_same_folder_is_refused(refused, config, tmp_path):
    with sole_run(tmp_path):
        assert f"another training runs in {tmp_path}" in refused(config, tmp_path)


def test_evaluation_needs_no_right_to_write(command, config, workdir, monkeypatch):
    def refuse(path, text):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(run, "write_atomically", refuse)
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    printed = command(config, workdir, "eval")
    assert "evaluation.json was not written: Read-only file system" in printed
    assert "untrained Base" in printed
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_what_else_lies_beside_the_phases_of_a_run_is_left_alone(workdir, tmp_path):
    shutil.copytree(workdir / "checkpoints", tmp_path / "checkpoints")
    for name in (".DS_Store", "notes.txt"):
        (tmp_path / "checkpoints" / name).touch()
    for name in ("backup", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / "checkpoints" / name / "inner").mkdir(parents=True)
    assert load(tmp_path).info.phase == "base"


def test_damaged_scores_of_a_finished_phase_are_told_of(refused, config, workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    del results["base"]["evaluation"]["scores"]["cmc"]
    (run / "results.json").write_text(json.dumps(results))
    assert "results.json is damaged: KeyError('cmc'). Remove it" in refused(config, run)


def test_evaluation_without_a_checkpoint_is_refused(refused, config, tmp_path):
    assert "holds no checkpoint" in refused(config, tmp_path, "eval")


def test_a_missing_data_folder_is_named(refused, config, tmp_path):
    data = dataclasses.replace(config.data, source=str(tmp_path / "absent"))
    assert str(tmp_path / "absent") in refused(dataclasses.replace(config, data=data), tmp_path)


def test_a_missing_attribute_file_is_named(refused, config, tmp_path):
    data = dataclasses.replace(config.data, attributes=str(tmp_path / "absent.mat"))
    assert "absent.mat" in refused(dataclasses.replace(config, data=data), tmp_path)


def test_an_unknown_data_set_is_refused(refused, config, tmp_path):
    data = dataclasses.replace(config.data, name="market1510")
    assert "market1510" in refused(dataclasses.replace(config, data=data), tmp_path)


def test_an_empty_query_set_is_refused(refused, config, rendered, tmp_path):
    source = tmp_path / "market"
    shutil.copytree(rendered / "market1501", source)
    for path in (source / "query").iterdir():
        path.unlink()
    data = dataclasses.replace(config.data, source=str(source), records=str(tmp_path / "records"))
    assert "query" in refused(dataclasses.replace(config, data=data), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 18}, "a batch of 18 cannot be spread over 4 devices"),
        ({"batch": 32, "images_per_identity": 4}, "need 8 identities, the training split has 6"),
        ({"batch": 64}, "a batch of 64 needs as many images, the training split has 48"),
        ({"batch": 16, "images_per_identity": 3}, "is not a multiple of images_per_identity=3"),
        ({"start_from": ("pose",)}, "start_from is one of none"),
    ],
)
def test_a_phase_that_does_not_fit_is_refused(refused, config, tmp_path, changes, message):
    phases = (dataclasses.replace(BASE, **changes),)
    assert message in refused(dataclasses.replace(config, phases=phases), tmp_path)


def test_a_refused_run_leaves_its_folder_to_another(refused, config, tmp_path):
    for batch, message in ((64, "the training split has 48"), (18, "over 4 devices")):
        phases = (dataclasses.replace(BASE, batch=batch),)
        other = dataclasses.replace(config, seed=batch, phases=phases)
        assert message in refused(other, tmp_path)


@pytest.mark.parametrize("sizes", [{"backbone": "resnet51"}, {"stem": "big"}, {"dtype": "float16"}])
def test_a_model_that_cannot_be_built_is_refused(refused, config, tmp_path, sizes):
    model = dataclasses.replace(config.model, **sizes)
    (value,) = sizes.values()
    assert str(value) in refused(dataclasses.replace(config, model=model), tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config", DEMO, "--config.nonsense=1"], "Field nonsense not found"),
        (["--config", DEMO, "--config.phases[9].epochs=1"], "index out of range"),
        (["--config", DEMO, "--config.seed=many"], "--config.seed=many"),
        (
            ["--config", DEMO, "--config.model.dtype=float16"],
            "config.model.dtype is one of float32, bfloat16; got 'float16'",
        ),
        (["--config", DEMO, "--config.phases[1].learning_rate=nan"], "must be finite, got nan"),
        (["--config", "absent.py"], "absent.py cannot be read: No such file or directory"),
        ([], "--config must have a value"),
        (
            ["--config", DEMO, "--num_processes=2"],
            "--coordinator, --num_processes and --process_id",
        ),
        (["--config", DEMO, "surplus"], "unknown argument 'surplus'"),
    ],
)
def test_a_mistaken_flag_ends_in_a_clear_line(flags, message, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fgsam_jax.main", *map(str, flags)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
    )
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_the_command_line_overrides_a_field(tmp_path):
    script = (
        "import sys; from fgsam_jax.runtime import cli; from absl import app;"
        "app.run(lambda _: print(cli.CONFIG.value.model.backbone, "
        "cli.CONFIG.value.model.dtype, cli.CONFIG.value.phases[1].epochs, "
        "cli.CONFIG.value.phases[1].learning_rate), flags_parser=cli.parse)"
    )
    flags = ["--config", DEMO, "--config.model.backbone=resnet18", "--config.model.dtype=bfloat16"]
    flags += ["--config.phases[1].epochs=77", "--config.phases[1].learning_rate=0.5"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, flags)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
    )
    assert done.stdout.split() == ["resnet18", "bfloat16", "77", "0.5"], done.stderr
