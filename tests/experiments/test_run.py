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


def test_a_table_is_written_before_it_is_printed(monkeypatch, tmp_path):
    def cannot_print(text):
        if "rank-1" in text:
            raise BrokenPipeError

    rows = [row("Base", 0.5)]
    monkeypatch.setattr(run, "train", lambda *_: rows)
    monkeypatch.setattr(run, "say", cannot_print)
    for repeats in (1, 2):
        config = Config(phases=(Phase("base", model="baseline"),), repeats=repeats)
        with pytest.raises(BrokenPipeError):
            run_experiment(config, tmp_path / str(repeats), training=True)
        written = [path.name for path in tmp_path.glob(f"{repeats}/**/table.json")]
        assert written == ["table.json"]
