from pathlib import Path

import pytest
from test_tables import row

from fgsam_jax.config import Config, Data, Phase, PoseData
from fgsam_jax.experiments import run
from fgsam_jax.experiments.run import expand, run_experiment


def test_the_folder_of_the_run_stands_in_for_workdir():
    config = Config(data=Data(source="{workdir}/set"), pose_data=PoseData(source="elsewhere"))
    filled = expand(config, Path("/runs/a"))
    assert filled.data.source == "/runs/a/set"
    assert filled.pose_data.source == "elsewhere"
    assert config.data.source == "{workdir}/set"


@pytest.mark.parametrize(("repeats", "work"), [(1, "train"), (2, "run_once")])
def test_a_table_is_written_before_it_is_printed(monkeypatch, tmp_path, repeats, work):
    def cannot_print(text):
        if "rank-1" in text:
            raise BrokenPipeError

    monkeypatch.setattr(run, work, lambda *_, **__: [row("Base", 0.5)])
    monkeypatch.setattr(run, "_about", lambda _: {})
    monkeypatch.setattr(run, "say", cannot_print)
    config = Config(phases=(Phase("base", model="baseline"),), repeats=repeats)
    with pytest.raises(BrokenPipeError):
        run_experiment(config, tmp_path, training=True)
    assert (tmp_path / "table.json").is_file()
