import dataclasses
import json
import sys
from pathlib import Path

import pytest
import tiny

from fgsam_jax.config import to_dict
from fgsam_jax.errors import InputError
from fgsam_jax.experiments.studies import catalogue, collect, runs
from fgsam_jax.experiments.studies.rows import Row, with_

# A stand-in for the program: two phases, the second of which may be killed or fail.
PROGRAM = """
import json, os, pathlib, signal, sys
plan = json.loads(pathlib.Path(sys.argv[1]).read_text())
run = plan[sys.argv[-1]]
folder = pathlib.Path(run["folder"])
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text(json.dumps(run["config"]))
results = folder / "results.json"
done = json.loads(results.read_text()) if results.exists() else {}
trained = folder / "trained.txt"
for phase in ("base", "more"):
    if phase in done:
        continue
    with trained.open("a") as file:
        file.write(phase + " ")
    if phase == "more" and os.environ.get("SIGNAL") and "seed1" in sys.argv[-1]:
        os.kill(os.getpid(), signal.SIGKILL)
    if phase == "more" and "b/" in sys.argv[-1] and os.environ.get("FAIL"):
        sys.exit("error: more: the loss is nan at step 3")
    score = (1 + run["config"]["seed"] + run["config"]["loss"]["margin"]) / 10
    scores = {"cmc": [score] * 10, "map": score, "map_trapezoid": score,
              "map_interpolated": score, "minp": score, "valid_queries": 7}
    done[phase] = {"headline": "", "evaluation": {"scores": scores, "plenary": scores}}
    results.write_text(json.dumps(done))
(folder / "table.json").write_text(json.dumps({"config": run["config"]}))
"""
BASE = tiny.config(
    Path("set"), (tiny.BASE, dataclasses.replace(tiny.BASE, name="more", start_from=("base",)))
)


def rows(base, small):
    """Two runs, and two phases of one."""
    del small
    wider = with_(base, "loss", margin=1.0)
    return [
        Row("Base", "a", base, "base"),
        Row("more", "a", base, "more"),
        Row("wide margin", "b", wider, "more"),
    ]


@pytest.fixture
def experiment(monkeypatch, tmp_path):
    monkeypatch.setitem(catalogue.STUDIES, "toy", catalogue.Study(rows))
    return runs.planned("toy", BASE, tmp_path / "root", seeds=2, small=True)


@pytest.fixture
def carry_out(experiment, tmp_path):
    """Do all unfinished runs, and give the lines of the table."""
    plan = {
        run.name: {"folder": str(run.folder), "config": to_dict(run.config)}
        for run in experiment.runs.values()
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "plan.json")]

    def run():
        runs.carry_out_all(experiment, command)
        return collect.write_tables(experiment, BASE, "command").splitlines()

    return run


def test_seeds_are_raised_and_paths_are_one_for_all_runs(experiment):
    assert [run.name for run in experiment.runs.values()] == [
        "a/seed0", "b/seed0", "a/seed1", "b/seed1",
    ]  # fmt: skip
    last = experiment.runs["b", 1]
    assert (last.config.seed, last.config.data.split_seed) == (1, 1)
    assert last.folder == experiment.root / "toy/b/seed1"
    sources = {run.config.data.source for run in experiment.runs.values()}
    assert sources == {BASE.data.source}


def test_the_table_has_mean_spread_and_the_gain_seed_by_seed(carry_out, experiment):
    lines = carry_out()
    # With the margin of 0.5 the seeds score 15 and 25, with 1.0 they score 20 and 30.
    assert lines[1].split()[:4] == ["Base", "20.00", "±", "7.07"]
    assert lines[2].split()[-4:] == ["+0.00", "±", "0.00", "2"]
    assert lines[3].split()[-4:] == ["+5.00", "±", "0.00", "2"]
    kept = json.loads((experiment.folder / "table.json").read_text())
    assert kept["rows"][2]["percent"]["mAP"]["mean"] == pytest.approx(25)
    assert "wide margin" in (experiment.folder / "table.html").read_text()
    assert "wide margin" in (experiment.folder / "toy.svg").read_text()


def test_killed_in_the_middle_the_same_command_ends_with_the_same_table(
    carry_out, experiment, monkeypatch
):
    monkeypatch.setenv("SIGNAL", "1")
    killed = carry_out()
    assert killed[1].split()[-1] == "2"
    assert killed[2].split()[-1] == "1"
    assert killed[4] == "more, seed 1: ended by signal 9"
    assert killed[5] == "wide margin, seed 1: ended by signal 9"
    monkeypatch.delenv("SIGNAL")
    after = carry_out()
    # What had ended was not done again, and what was killed went on.
    assert experiment.runs["a", 0].folder.joinpath("trained.txt").read_text() == "base more "
    assert experiment.runs["a", 1].folder.joinpath("trained.txt").read_text() == "base more more "
    for run in experiment.runs.values():
        for name in ("results.json", "table.json"):
            (run.folder / name).unlink()
    assert carry_out() == after


def test_a_failed_run_is_shown_with_its_last_line_and_the_table_stands(carry_out, monkeypatch):
    monkeypatch.setenv("FAIL", "1")
    lines = carry_out()
    assert lines[1].split()[-1] == "2"
    assert lines[3].split()[-2:] == ["–", "0"]
    assert lines[4] == "wide margin, seed 0: error: more: the loss is nan at step 3"
    assert len(lines) == 6


def test_a_folder_of_another_configuration_has_no_place_in_the_table(carry_out, experiment):
    carry_out()
    other = dataclasses.replace(BASE, mirror=True)
    plan = runs.planned("toy", other, experiment.root, seeds=2, small=True)
    lines = collect.write_tables(plan, other, "command").splitlines()
    assert "config.mirror differs" in lines[4]


def test_an_unknown_run_is_refused(experiment):
    with pytest.raises(InputError, match=r"--run is one of a/seed0, b/seed0, a/seed1, b/seed1"):
        runs.carry_out(experiment, "c/seed0")
