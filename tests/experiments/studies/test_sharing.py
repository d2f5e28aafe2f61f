import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from fgsam_jax import config as configs
from fgsam_jax.checkpoint import restore
from fgsam_jax.config import Log, Model
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.experiments.studies.rows import with_
from fgsam_jax.experiments.studies.sharing import adopt, fingerprint
from fgsam_jax.models.factory import make_model
from fgsam_jax.training.loop import train
from fgsam_jax.training.phase import phase_seed

OTHER = {
    "backbone": "resnet18", "width": 16, "stem": "imagenet", "last_stride": 2, "pose_width": 0.125,
    "pose_kernel": 5, "parse": False, "sketch": 128, "bilinear": "fft", "part_size": 16,
    "plenary_size": 32, "bnneck": False, "pooling": "gem", "baseline_neck": True,
    "search_vector": "before", "identity_heads": "all",
    "prior_bias": True, "dtype": "bfloat16",
}  # fmt: skip
CONFIG = tiny.config(Path("set"))


def changed(config, phase):
    """Whether a phase is another than that of CONFIG."""
    return fingerprint(config, phase) != fingerprint(CONFIG, phase)


def test_every_size_of_a_model_has_another_value_here():
    assert set(OTHER) == {field.name for field in dataclasses.fields(Model)}
    assert all(getattr(tiny.SIZES, name) != value for name, value in OTHER.items())


@pytest.mark.parametrize("name", OTHER)
def test_a_phase_is_another_where_its_model_or_one_it_starts_from_is(name):
    other = with_(CONFIG, "model", **{name: OTHER[name]})

    def model(config, kind):
        return make_model(config.model, kind, 4, ())

    differs = {
        phase.name: model(CONFIG, phase.model) != model(other, phase.model)
        for phase in CONFIG.phases
    }
    differs["both"] |= differs["pose"] or differs["base"]
    differs["full"] |= differs["both"]
    if name == "prior_bias":  # of heads of attributes, which the model itself does not know of
        differs["both"] = differs["full"] = True
    for phase, expected in differs.items():
        assert changed(other, phase) or not expected, phase
    if name not in ("prior_bias", "dtype"):
        assert {phase: changed(other, phase) for phase in differs} == differs


@pytest.mark.parametrize(
    "name", ["margin", "bound", "gamma", "label_smoothing", "attribute_smoothing"]
)
def test_the_focal_phase_reads_all_of_the_loss(name):
    assert changed(with_(CONFIG, "loss", **{name: 0.25}), "full")


@pytest.mark.parametrize(
    "option", [{"attribute_weight": 0.5}, {"attribute_smoothing": 0.1}, {"attributes": "hat"}]
)
def test_the_baseline_reads_no_option_of_attributes(option):
    assert not changed(with_(CONFIG, "loss", **option), "base")


CLASSES = {"label_smoothing", "attribute_weight", "attribute_smoothing", "attributes"}


@pytest.mark.parametrize(
    ("triplet", "reads"),
    [("none", CLASSES), ("triplet", CLASSES | {"margin", "mining", "triplet_weight"})],
)
def test_a_phase_reads_those_options_of_the_loss_that_are_in_it(triplet, reads):
    phases = (*CONFIG.phases[:-1], dataclasses.replace(CONFIG.phases[-1], triplet=triplet))
    plain = dataclasses.replace(CONFIG, phases=phases)
    values = {
        "margin": 0.25, "bound": 0.25, "gamma": 1.0, "mining": "all", "triplet_weight": 0.5,
        "attribute_weight": 0.5, "attributes": "hat", "attribute_smoothing": 0.1,
        "label_smoothing": 0.1,
    }  # fmt: skip
    found = {
        name
        for name, value in values.items()
        if fingerprint(with_(plain, "loss", **{name: value}), "full") != fingerprint(plain, "full")
    }
    assert found == reads


@pytest.mark.parametrize(
    ("change", "phases"),
    [
        ({"seed": 1}, {"pose", "base", "both", "full"}),
        ({"mirror": True}, {"pose", "base", "both", "full"}),
        ({"repeats": 3, "references": True, "log": Log(every=7)}, set()),
        ({"evaluation": configs.Evaluation(re_ranking=True)}, set()),
        ({"pose_data": configs.PoseData(sigma=5.0)}, {"pose", "both", "full"}),
        ({"init": configs.Init(backbone="a")}, {"base", "both", "full"}),
        ({"init": configs.Init(pose="a")}, {"pose", "both", "full"}),
    ],
)
def test_seed_data_and_first_weights_count_and_what_is_shown_does_not(change, phases):
    other = dataclasses.replace(CONFIG, **change)
    assert {phase.name for phase in CONFIG.phases if changed(other, phase.name)} == phases


def test_the_place_of_a_phase_among_others_does_not_count():
    pose, base, both, full = CONFIG.phases
    first = dataclasses.replace(base, name="new")
    for phases in ((pose, base), (pose, first, base), (base, pose, both, full)):
        assert not changed(dataclasses.replace(CONFIG, phases=phases), "base")


def test_phases_that_start_alike_have_one_seed_and_their_forerunners_another():
    pose, base, both, full = CONFIG.phases
    long = dataclasses.replace(base, name="long", start_from=("base",))
    plain = dataclasses.replace(full, name="plain", triplet="triplet")
    config = dataclasses.replace(CONFIG, seed=2, phases=(pose, long, plain, base, both, full))
    found = {phase.name: phase_seed(config, phase) for phase in config.phases}
    assert found == {
        "pose": 2000,
        "base": 2000,
        "long": 2001,
        "both": 2001,
        "plain": 2002,
        "full": 2002,
    }


def test_a_phase_of_another_run_is_the_one_trained_anew_bit_for_bit(rendered, tmp_path, capsys):
    base = dataclasses.replace(tiny.BASE, learning_rate=2e-3)
    more = dataclasses.replace(base, name="more", start_from=("base",))
    first = dataclasses.replace(base, name="first")
    one, other = (tiny.config(rendered, x) for x in ((base,), (first, base, more)))
    datasets = Datasets(one)
    folders = [tmp_path / "study" / name / "seed0" for name in ("one", "other", "alone")]
    train(one, folders[0], datasets)
    for folder in folders[1:]:
        folder.mkdir(parents=True)
    adopt(other, folders[1], tmp_path)
    assert f"base: trained by {folders[0]}" in capsys.readouterr().out
    train(other, folders[1], datasets)
    assert "base: finished before" in capsys.readouterr().out
    train(other, folders[2], datasets)
    shared, alone = (restore(folder, "more")[1] for folder in folders[1:])
    jax.tree.map(np.testing.assert_array_equal, shared, alone)
    first, second = (json.loads((f / "results.json").read_text()) for f in folders[1:])
    assert first["more"]["evaluation"] == second["more"]["evaluation"]


def test_a_run_that_has_begun_is_left_as_it_is(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text("{}")
    adopt(CONFIG, tmp_path, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "config.json"]
