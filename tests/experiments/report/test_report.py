"""Reports of runs whose files are written by hand, and their names by a villain."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import tiny

from fgsam_jax.config import Config
from fgsam_jax.errors import InputError
from fgsam_jax.experiments import tables
from fgsam_jax.experiments.report.build import build_report
from fgsam_jax.experiments.report.options import changed_options

NAME = "<script>alert(1)</script>"
SAFE = "&lt;script&gt;alert(1)&lt;/script&gt;"
JPEG = {"jpeg": "AAAA", "name": NAME, "identity": 7, "camera": 2}


def result(title, score=0.25):
    scores = {"cmc": [score] * 50, "map": score, "map_trapezoid": score, "map_interpolated": score}
    scores |= {"minp": score, "valid_queries": 9}
    told = {"accuracy": 0.5, "majority": 0.75, "balanced_accuracy": 0.5, "f1": 0.5, "labelled": 8}
    evaluation = {
        "scores": scores,
        "plenary": scores,
        "attributes": {NAME: told | {"confusion": [[3, 1], [2, 2]]}},
        "same_camera": "drop_same_identity",
        "queries": 9,
        "camera_pairs": [{"query": 1, "gallery": 2, "map": 0.625, "rank_1": 1, "queries": 3}],
    }
    spent = {"seconds": 61.0, "memory": {"host": 3 * 2**30}}
    return {"title": title, "headline": f"mAP {score}", "evaluation": evaluation, **spent}


def run(folder: Path, d_an=0.8, score=0.25, seed=0, **model):
    """The files of a finished run of two phases."""
    folder.mkdir(parents=True)
    config = asdict(Config(seed=seed, phases=(tiny.BASE, tiny.FULL)))
    config["model"] |= model
    config["phases"][1]["title"] = NAME
    results = {"base": result("Base", score), "full": result(NAME, score)}
    classes = {NAME: ["no", NAME]}
    about = {"versions": {"jax": "1"}, "machine": {"device": NAME}, "splits": {}}
    written = {
        "table.json": {
            "config": config,
            "about": about | {"classes": classes},
            "rows": list(results.values()),
        },
        "results.json": results,
        "pictures.json": {
            "lists": [
                {
                    **{"group": "worst", "average_precision": 0.125, "rank": 3, "positives": 4},
                    "query": JPEG,
                    "found": [JPEG | {"distance": 0.5, "correct": False}],
                }
            ],
            "parts": [JPEG | {"maps": {"upper_leg": "BBBB"}}],
        },
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content))
    lines = []
    for phase, epoch in (("base", 1), ("base", 2), ("full", 1)):
        mean = {"total": 2.0, "identity": 1.5, "identity_accuracy": 0.5}
        if phase == "full":
            signs = {"d_ap": 0.1, "d_an": d_an, "lambda": 1.0, "active": 0.5, "triplet": 0.2}
            mean |= {f"{name}/head": value for name, value in signs.items()}
        lines.append({"phase": phase, "epoch": epoch, "step": epoch, "mean": mean})
        lines.append({"phase": phase, "epoch": epoch, "step": epoch, "scores": {"mAP": 0.2}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + '{"phase": "full", "epo')
    return folder


def test_a_report_has_every_part_and_no_markup_of_others(tmp_path):
    page = build_report([run(tmp_path / "a")])
    for heading in (
        "Results", "What was run", "Scores by epoch", "Cumulative matching (CMC)",
        "mAP by pair of cameras", "Ranked lists", "What each part looks at", "Attributes",
        "Losses by epoch", f"Signs of collapse: {SAFE}", "Time and memory",
    ):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page
    assert "<script>" not in page
    assert "://" not in page
    assert page.isascii()
    assert "AP 12.5 %, first hit at rank 3, 4 to find" in page
    assert ">62.5</td>" in page
    assert "3,072 MiB" in page


def test_a_report_prints_the_table_of_the_run(tmp_path):
    folder = run(tmp_path / "a")
    page = build_report([folder])
    rows = json.loads((folder / "table.json").read_text())["rows"]
    for cell in tables.results_table(rows[:1]).splitlines()[1].split():
        assert f">{cell}<" in page or cell in ("61", "s")


@pytest.mark.parametrize(("d_an", "said"), [(0.02, "Collapsed: head."), (0.8, "No branch has")])
def test_a_collapsed_branch_is_named(tmp_path, d_an, said):
    assert said in build_report([run(tmp_path / "a", d_an)])


def test_a_run_without_pictures_and_details_has_a_report_all_the_same(tmp_path):
    folder = run(tmp_path / "a")
    for name in ("pictures.json", "log.jsonl", "results.json"):
        (folder / name).unlink()
    page = build_report([folder])
    assert "Ranked lists" not in page
    assert "<h2>Results</h2>" in page


def test_several_runs_are_told_apart_by_what_differs(tmp_path):
    page = build_report([run(tmp_path / "a", width=64), run(tmp_path / "b", width=48)])
    assert '<tr><th scope="row">model.width</th><td>64</td><td>48</td></tr>' in page
    assert page.count('<th scope="row">model.') == 1
    assert "standard deviation" not in page
    assert "<script>" not in page


def test_seeds_of_one_folder_end_in_their_mean_and_spread(tmp_path):
    for seed, score in enumerate((0.25, 0.75)):
        run(tmp_path / f"seed{seed}", score=score, seed=seed)
    (tmp_path / "table.json").write_text('{"runs": []}')
    page = build_report([tmp_path])
    assert "Mean and standard deviation of 2 seeds" in page
    assert "50.00 &#177; 35.36" in page


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no finished run: expected table\.json"):
        build_report([tmp_path])


@pytest.mark.parametrize("name", ["table.json", "results.json", "pictures.json"])
@pytest.mark.parametrize("content", ["{", "[]", '{"rows": 5, "config": {}, "lists": [5], "x": 5}'])
def test_damaged_files_of_a_run_end_in_one_line(tmp_path, name, content):
    folder = run(tmp_path / "a")
    (folder / name).write_text(content)
    with pytest.raises(InputError):
        build_report([folder])


def test_the_defaults_are_not_listed_among_the_changed_options():
    config = asdict(Config(phases=(tiny.BASE, tiny.FULL)))
    config["loss"]["margin"] = 0.75
    assert changed_options(config) == {
        "loss.margin": "0.75",
        "phases[full].images_per_identity": "4",
    }


def test_the_command_needs_no_jax(tmp_path):
    folder = run(tmp_path / "a")
    tool = Path(__file__).parents[3] / "tools" / "report.py"
    code = (
        "import runpy, sys; sys.modules['jax'] = None; "
        f"sys.argv = ['report.py', {str(folder)!r}]; runpy.run_path({str(tool)!r}, "
        "run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"wrote {folder / 'report.html'}\n", done.stderr
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("name", ["report", "export", "label_joints"])
def test_a_mistaken_flag_of_a_tool_is_told_in_one_line(name):
    tool = Path(__file__).parents[3] / "tools" / f"{name}.py"
    command = [sys.executable, tool, "a", "b", "--to", "c", "--unknown"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: unrecognized arguments: ")
    assert len(ended.stderr.splitlines()) == 1
