"""The command itself, in processes of its own."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "experiment.py"


def command(*arguments):
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments], capture_output=True, text=True, check=False
    )


def test_every_run_has_a_command_of_its_own_with_all_that_was_asked_for(tmp_path):
    asked = ["parse_blocks", "--workdir", str(tmp_path), "--seeds=2", "--config.seed=5"]
    printed = command(*asked, "--list").stdout.splitlines()
    assert [shlex.split(line)[2:] for line in printed] == [
        [*asked, "--run", run]
        for run in ("without/seed5", "with/seed5", "without/seed6", "with/seed6")
    ]
    assert not list(tmp_path.iterdir())


def test_a_table_of_nothing_says_so(tmp_path):
    printed = command("mining", "--workdir", str(tmp_path), "--seeds=1", "--collect").stdout
    assert "hard triplets, seed 0: not begun" in printed
    assert {path.name for path in (tmp_path / "mining").iterdir()} == {
        "table.txt", "table.json", "table.html", "mining.svg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablations"], "invalid choice: 'ablations'"),
        (["mining", "--seeds=0"], "--seeds is 1 or more, got 0"),
        (["mining", "runs/a"], "only comparison takes folders of runs, got runs/a"),
        (["mining", "--config.nonsense=1"], "Field nonsense not found"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message):
    ended = command(*arguments)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert ended.stderr.startswith("error: ")
    assert len(ended.stderr.splitlines()) == 1
