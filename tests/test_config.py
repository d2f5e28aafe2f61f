import dataclasses
import json
import math
import runpy
from pathlib import Path

import pytest

from fgsam_jax.config import (
    Augmentation,
    Config,
    Data,
    Loss,
    Optimization,
    Phase,
    PoseData,
    check,
    from_dict,
    to_dict,
)
from fgsam_jax.errors import InputError

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = [
    *sorted(path.stem for path in FOLDER.glob("*.py")),
    *("peta:small", "peta:recipe", "market_cpu:mobilenet_v2"),
]


def load(name):
    stem, *argument = name.split(":")
    return runpy.run_path(str(FOLDER / f"{stem}.py"))["get_config"](*argument)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_file_in_configs_gives_a_configuration_that_can_run(name):
    config = load(name)
    check(config)
    assert config.phases


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_survives_json(name):
    config = load(name)
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert isinstance(again.phases, tuple)
    assert all(isinstance(phase.start_from, tuple) for phase in again.phases)


def test_a_field_of_another_version_is_refused_by_name():
    values = to_dict(Config(phases=(Phase("a", model="baseline"),)))
    values["model"]["wings"] = 2
    with pytest.raises(InputError, match=r"another version.*wings"):
        from_dict(values)
    del values["model"]
    with pytest.raises(InputError, match=r"another version.*model"):
        from_dict(values)


def test_a_configuration_of_before_the_recipe_has_its_parts_off():
    config = Config(phases=(Phase("a", model="baseline"),))
    values = json.loads(json.dumps(to_dict(config)))
    for name in ("augmentation", "optimization"):
        del values["phases"][0][name]
    for name in ("pooling", "baseline_neck", "search_vector"):
        del values["model"][name]
    del values["loss"]["label_smoothing"], values["mirror"], values["evaluation"]
    assert from_dict(values) == config


def test_the_vector_of_the_triplet_loss_was_once_the_models():
    config = Config(phases=(Phase("a", model="baseline", triplet_vector="before"),))
    values = json.loads(json.dumps(to_dict(config)))
    values["model"]["triplet_vector"] = values["phases"][0].pop("triplet_vector")
    assert from_dict(values) == config


def test_pairs_of_cameras_were_once_an_option():
    values = json.loads(json.dumps(to_dict(Config())))
    values["evaluation"]["camera_pairs"] = True
    assert from_dict(values) == Config()


def test_phases_that_were_given_one_object_are_changed_one_by_one():
    shared = Optimization(weight_decay=0.1)
    first, second = (Phase(name, model="baseline", optimization=shared) for name in "ab")
    first.optimization.weight_decay = 0.2
    assert second.optimization == shared == Optimization(weight_decay=0.1)


GOOD = Phase("a", model="fgsam", triplet="focal", batch=8, images_per_identity=4)


def with_phases(*phases):
    return Config(phases=phases)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (with_phases(), "config.phases is empty"),
        (with_phases(GOOD, GOOD), "different names, got a, a"),
        (Config(phases=(GOOD,), restore="oldest"), "config.restore is one of last, best"),
        (with_phases(dataclasses.replace(GOOD, model="resnet")), r"phases\[0\].model is one of"),
        (with_phases(dataclasses.replace(GOOD, triplet="hard")), r"phases\[0\].triplet is one"),
        (with_phases(dataclasses.replace(GOOD, train_pose="x")), r"phases\[0\].train_pose is"),
        (with_phases(dataclasses.replace(GOOD, start_from=("b",))), "start_from is one of none"),
        (with_phases(dataclasses.replace(GOOD, start_from=("a",))), "start_from is one of none"),
        (with_phases(dataclasses.replace(GOOD, batch=10)), "10 is not a multiple of images_per"),
        (
            with_phases(dataclasses.replace(GOOD, images_per_identity=0)),
            "triplet loss and needs images_per_identity of 2 or more, got 0",
        ),
        (
            with_phases(dataclasses.replace(GOOD, epochs=0)),
            r"phases\[0\].epochs must be 1 to",
        ),
        (with_phases(Phase("a")), r"phases\[0\].model is one of pose, .*; got ''"),
        (
            with_phases(dataclasses.replace(GOOD, learning_rate=0.0)),
            "must be above 0 and at",
        ),
        (with_phases(dataclasses.replace(GOOD, warmup_epochs=math.nan)), "must be finite, got nan"),
        (Config(phases=(GOOD,), loss=Loss(margin=math.inf)), "config.loss.margin must be finite"),
        (
            with_phases(dataclasses.replace(GOOD, augmentation=Augmentation(erase=1.1))),
            r"phases\[0\].augmentation.erase must be 0 to 1, got 1.1",
        ),
        (
            with_phases(dataclasses.replace(GOOD, optimization=Optimization(ema=1.0))),
            "optimization.ema must be 0 or more and below 1, got 1.0",
        ),
        (
            with_phases(dataclasses.replace(GOOD, optimization=Optimization("step"))),
            r"drop_epochs belong to schedule=step, got \(\) with schedule=step",
        ),
        (
            with_phases(
                dataclasses.replace(GOOD, epochs=5, optimization=Optimization("step", (2, 5)))
            ),
            r"drop_epochs lie between 0 and epochs=5, got \(2, 5\)",
        ),
        (Config(phases=(GOOD,), loss=Loss(label_smoothing=1.0)), "label_smoothing must be 0 or"),
        (Config(phases=(GOOD,), seed=2**32), "config.seed must be 0 or more and below"),
        (Config(phases=(GOOD,), data=Data(split_seed=-1)), "config.data.split_seed must be 0 or"),
        (Config(phases=(GOOD,), pose_data=PoseData(width=4)), "width must be 0 or a multiple of 8"),
    ],
)
def test_what_cannot_run_is_refused_by_field(config, message):
    with pytest.raises(InputError, match=message):
        check(config)


def test_a_phase_may_start_from_an_earlier_one():
    check(with_phases(GOOD, dataclasses.replace(GOOD, name="b", start_from=("a",))))


def test_pieces_must_divide_the_batch():
    config = Config(phases=(Phase("a", model="baseline", batch=64, accumulate=3),))
    with pytest.raises(InputError, match="batch=64 is not a multiple of accumulate=3"):
        check(config)


def test_the_largest_seed_and_sizes_at_their_bounds_are_accepted():
    config = with_phases(dataclasses.replace(GOOD, warmup_epochs=0.0, epochs=1))
    check(dataclasses.replace(config, seed=2**32 - 1, pose_data=PoseData(height=0, width=8)))
