import dataclasses
import runpy
from pathlib import Path

import pytest

from fgsam_jax.config import Phase, check
from fgsam_jax.errors import InputError
from fgsam_jax.experiments.studies.catalogue import STUDIES, trained_on
from fgsam_jax.experiments.studies.comparison import compared
from fgsam_jax.experiments.studies.runs import planned

CONFIGS = Path(__file__).parents[3] / "configs"


def plan(name, base, small=True):
    config = runpy.run_path(str(CONFIGS / f"{base}.py"))["get_config"]()
    return planned(name, config, Path("root"), seeds=2, small=small)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("base", ["demo", "market_cpu", "market_strong", "market"])
@pytest.mark.parametrize("name", STUDIES)
def test_every_experiment_is_made_of_runs_that_can_be_started(name, base, small):
    made = plan(name, base, small)
    titles = [row.title for row in made.rows]
    assert len(set(titles)) == len(titles)
    for run in made.runs.values():
        check(run.config)
        assert "{workdir}" not in str(run.config)
    for row in made.rows:
        config = made.runs[row.run, row.config.seed].config
        assert row.phase in [phase.name for phase in config.phases]
        assert config == row.config  # rows of one run have one configuration


def test_the_ablation_has_the_rows_of_the_table_and_its_controls():
    made = plan("ablation", "demo")
    assert [row.title for row in made.rows] == [
        "Base",
        "Base, trained as long",
        "Base + Pose",
        "Base + Pose + LRAM",
        "Base + Pose + LRAM + plain triplet",
        "Base + Pose + LRAM + FTL",
    ]
    phases = {phase.name: phase for phase in made.rows[0].config.phases}
    assert phases["base_long"].epochs == phases["base_pose"].epochs + phases["fgsam"].epochs
    aside = {"name": "", "title": "", "triplet": "none"}
    variants = [dataclasses.replace(phases[name], **aside) for name in ("lram", "plain", "fgsam")]
    assert variants[0] == variants[1] == variants[2]


def test_the_control_of_a_method_without_an_intermediate_phase_trains_as_long_as_it():
    base = runpy.run_path(str(CONFIGS / "demo.py"))["get_config"]()
    phases = [
        dataclasses.replace(phase, start_from=("pose", "base"), epochs=8)
        if phase.name == "fgsam"
        else phase
        for phase in base.phases
    ]
    base = dataclasses.replace(base, phases=tuple(phases))
    made = planned("ablation", base, Path("root"), seeds=1, small=True)
    config = made.rows[0].config
    check(config)
    found = {phase.name: phase.epochs for phase in config.phases}
    assert found["base_long"] == found["fgsam"] == 8
    assert "base_pose" in found


def test_the_control_warms_up_as_the_method_and_the_fusion_brings_what_it_starts_from():
    base = runpy.run_path(str(CONFIGS / "market_cpu.py"))["get_config"]()
    pose = next(phase for phase in base.phases if phase.model == "pose")
    own = dataclasses.replace(pose, name="own_pose")
    phases = (
        dataclasses.replace(phase, start_from=("own_pose", "base"))
        if phase.name == "base_pose"
        else phase
        for phase in base.phases
    )
    made = planned(
        "ablation",
        dataclasses.replace(base, phases=(own, *phases)),
        Path("root"),
        seeds=1,
        small=True,
    )
    config = made.rows[0].config
    check(config)
    found = {phase.name: phase for phase in config.phases}
    assert found["base"].warmup_epochs == 2
    assert found["base_long"].warmup_epochs == found["fgsam"].warmup_epochs == 1
    assert {"own_pose", "pose", "base_pose"} <= set(found)


def test_a_longer_training_stretches_its_schedule():
    phase = Phase("base", model="baseline", epochs=20, halve_every=8)
    assert trained_on(phase, 10).halve_every == 4
    how = dataclasses.replace(phase.optimization, schedule="step", drop_epochs=(8, 14))
    longer = trained_on(dataclasses.replace(phase, optimization=how), 30)
    assert longer.optimization.drop_epochs == (12, 21)
    assert longer.start_from == ("base",)


def test_what_is_left_out_of_the_recipe_differs_from_the_whole_by_one_option():
    made = plan("recipe", "demo")
    whole = str(made.rows[0].config)
    for row in made.rows[1:7]:
        words = zip(whole.split(), str(row.config).split(), strict=True)
        assert sum(a != b for a, b in words) == 1, row.title


def test_a_base_without_the_whole_method_is_refused():
    with pytest.raises(InputError, match="needs a phase with model=fgsam and triplet=focal"):
        plan("ablation", "pose_coco")


def test_the_paper_stands_as_printed_beside_runs(tmp_path):
    text = compared([], tmp_path)
    assert "FGSAM, the paper    91.5    96.8     97.3  85.4" in text
    assert {path.name for path in (tmp_path / "comparison").iterdir()} == {
        "table.txt", "table.json", "table.html",
    }  # fmt: skip
