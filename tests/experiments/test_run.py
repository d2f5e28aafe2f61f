from pathlib import Path

from fgsam_jax.config import Config, Data, PoseData
from fgsam_jax.experiments.run import expand


def test_the_folder_of_the_run_stands_in_for_workdir():
    config = Config(data=Data(source="{workdir}/set"), pose_data=PoseData(source="elsewhere"))
    filled = expand(config, Path("/runs/a"))
    assert filled.data.source == "/runs/a/set"
    assert filled.pose_data.source == "elsewhere"
    assert config.data.source == "{workdir}/set"
