import dataclasses
import json
import random
import shutil
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny
from killed import SCRIPT, kill

from fgsam_jax.checkpoint import checkpoint_folder, restore
from fgsam_jax.config import Compute, Log, Phase, PoseData
from fgsam_jax.data import resident
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.phases import restored_results
from fgsam_jax.retrieval.embedder import load
from fgsam_jax.training import loop
from fgsam_jax.training import phase as one_phase
from fgsam_jax.training.initialize import take_matching
from fgsam_jax.training.optim import make_optimizer, schedule
from fgsam_jax.training.state import make_state, resume_state

PHASES = tuple(dataclasses.replace(phase, epochs=1) for phase in tiny.PHASES)


def go(config, workdir):
    return loop.train(config, workdir, Datasets(config))


def restored(workdir, phase):
    """Everything in a phase's last checkpoint: variables and the optimiser's part."""
    info, variables, step = restore(workdir, phase)
    return info, variables, step


def same(a, b):
    a, b = (jax.tree.leaves(tree) for tree in (a, b))
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def config(rendered):
    return tiny.config(rendered, PHASES)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """A run of all four phases, and what it scored."""
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, go(config, workdir)


def test_every_phase_writes_its_results(finished):
    workdir, results = finished
    written = json.loads((workdir / "results.json").read_text())
    assert list(written) == ["pose", "base", "both", "full"]
    assert list(written.values()) == json.loads(json.dumps(results))
    assert 0 < written["pose"]["pose"]["heat"] < 10
    for name in ("base", "both", "full"):
        assert 0 < written[name]["map"] <= 1
        assert written[name]["evaluation"]["scores"]["map"] == written[name]["map"]
    assert set(written["full"]["evaluation"]["attributes"]) == {
        head.removeprefix("attribute_")
        for head in restored(workdir, "full")[1]["params"]
        if head.startswith("attribute_")
    }


def test_a_restored_run_scores_the_same_to_the_last_digit(config, finished):
    workdir, results = finished
    again = restored_results(config, workdir, Datasets(config))
    for first, second in zip(results, again, strict=True):
        spent = {"seconds": 0, "memory": 0}
        assert first | spent == second | spent


def test_a_finished_run_is_not_trained_again(config, finished, monkeypatch):
    workdir, results = finished
    monkeypatch.setattr(one_phase, "parallel_train_steps", None)
    assert go(config, workdir) == json.loads(json.dumps(results))


def test_a_phase_starts_from_the_weights_of_earlier_ones(finished):
    workdir, _ = finished
    _, pose, _ = restored(workdir, "pose")
    _, both, _ = restored(workdir, "both")
    _, full, _ = restored(workdir, "full")
    assert same(both["params"]["pose"]["conv1_1"], pose["params"]["pose"]["conv1_1"])
    assert not same(both["params"]["pose"]["CPB3"], pose["params"]["pose"]["CPB3"])
    assert same(full["constants"], both["constants"])


def test_the_log_has_every_step_and_the_mean_of_an_epoch(finished):
    workdir, _ = finished
    lines = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "full" and "mean" not in line]
    (epoch,) = [line for line in lines if line["phase"] == "full" and "mean" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert {"total", "identity", "triplet/head", "d_ap/plenary"} <= set(steps[0])
    assert epoch["mean"]["total"] == pytest.approx(np.mean([line["total"] for line in steps]))


def test_a_run_of_another_configuration_is_refused(config, finished):
    workdir, _ = finished
    with pytest.raises(InputError, match=r"another configuration \(config.seed differs\)"):
        go(dataclasses.replace(config, seed=5), workdir)


# One phase of three epochs of three steps, the cheapest model that has batch statistics.
LONG = Phase("base", model="baseline", batch=16, epochs=3)


@pytest.fixture(scope="module")
def undisturbed(rendered, tmp_path_factory):
    """A run of `LONG` that nothing interrupts."""
    config = tiny.config(rendered, (LONG,), log=Log(every=1, keep=1, pictures=False))
    workdir = tmp_path_factory.mktemp("undisturbed")
    go(config, workdir)
    return config, workdir


def everything(workdir, phase="base"):
    """The last state of a phase with the optimiser's moments."""
    info, variables, step = restore(workdir, phase)
    folder = checkpoint_folder(workdir, phase) / str(step)
    checkpoints = one_phase.Checkpoints(folder.parent)
    chosen = next(p for p in info.config.phases if p.name == phase)
    template = jax.eval_shape(
        lambda v: make_state(v, chosen, make_optimizer(chosen, 3)),
        variables,
    )
    return resume_state(checkpoints, step, template, chosen)


def interrupt(config, workdir, monkeypatch):
    """A run that is stopped at its fifth step."""
    original = one_phase.parallel_train_steps

    def interrupted(update):
        step = original(update)
        calls = []

        def stop_at_fifth(*values):
            calls.append(0)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return step(*values)

        return stop_at_fifth

    with monkeypatch.context() as patch:
        patch.setattr(one_phase, "parallel_train_steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(config, workdir)


def test_an_interrupted_run_goes_on_to_the_same_bits(undisturbed, tmp_path, monkeypatch):
    config, workdir = undisturbed
    interrupt(config, tmp_path, monkeypatch)
    assert restore(tmp_path, "base")[2] == 3
    assert not (tmp_path / "results.json").exists()
    go(config, tmp_path)
    assert same(everything(tmp_path), everything(workdir))
    logs = [(folder / "log.jsonl").read_text() for folder in (tmp_path, workdir)]
    assert logs[0] == logs[1]


def test_a_run_on_resident_images_is_the_plain_one_and_goes_on(rendered, tmp_path, monkeypatch):
    """Calls of two steps leave one place of an epoch's last call unused."""
    both = dataclasses.replace(tiny.BOTH, start_from=(), epochs=3)
    config = tiny.config(rendered, (both,), compute=Compute(steps_per_call=2, resident="yes"))
    with monkeypatch.context() as patch:
        patch.setattr(resident, "_free", lambda: 2**30)  # as if it were an accelerator
        fast = Compute(steps_per_call=2, resident="auto")
        go(dataclasses.replace(config, compute=fast), tmp_path / "whole")
    go(tiny.config(rendered, (both,)), tmp_path / "plain")
    interrupt(config, tmp_path / "cut", monkeypatch)
    go(config, tmp_path / "cut")
    whole, cut = (restored(tmp_path / name, "both")[1] for name in ("whole", "cut"))
    assert same(whole, cut)
    totals = [
        [
            json.loads(line)["total"]
            for line in (tmp_path / name / "log.jsonl").read_text().splitlines()
            if '"step"' in line and '"epoch"' not in line
        ]
        for name in ("whole", "plain")
    ]
    assert len(totals[0]) == 9
    # Adam makes rounding grow.
    np.testing.assert_allclose(totals[0][:3], totals[1][:3], rtol=1e-3)


def test_an_interrupted_stream_goes_on_to_the_same_bits(rendered, tmp_path, monkeypatch):
    phase = Phase("pose", model="pose", batch=4, epochs=3)
    streamed = PoseData("coco_openpose", str(rendered / "coco"), height=32, width=32, sigma=6.0)
    config = tiny.config(rendered, (phase,), pose_data=streamed)
    (whole,) = go(config, tmp_path / "whole")
    interrupt(config, tmp_path / "cut", monkeypatch)
    assert restore(tmp_path / "cut", "pose")[2] < restore(tmp_path / "whole", "pose")[2]
    (resumed,) = go(config, tmp_path / "cut")
    assert resumed["pose"] == whole["pose"]
    assert same(everything(tmp_path / "cut", "pose"), everything(tmp_path / "whole", "pose"))


def test_a_killed_run_goes_on_to_the_same_bits(undisturbed, tmp_path):
    """Killed at any moment after the first loss is written, perhaps while a checkpoint is."""
    config, workdir = undisturbed

    def soon(log):
        time.sleep(random.uniform(0, 0.5))
        return bool(log)

    kill(config, tmp_path / "killed", SCRIPT, soon)
    go(config, tmp_path / "killed")
    assert same(everything(tmp_path / "killed"), everything(workdir))


HALF = """
import time
import orbax.checkpoint as ocp
whole = ocp.StandardCheckpointHandler.async_save
async def half(self, directory, **given):
    if "/6." in str(directory) and directory.name.startswith("optimizer"):
        time.sleep(600)
    return await whole(self, directory, **given)
ocp.StandardCheckpointHandler.async_save = half
"""


def test_a_run_killed_while_it_trains_and_writes_goes_on_from_the_checkpoint_before(
    undisturbed, tmp_path
):
    config, workdir = undisturbed
    killed = tmp_path / "killed"
    kill(config, killed, HALF + SCRIPT, lambda log: '"step": 9' in log)
    folder = checkpoint_folder(killed, "base")
    assert [path.name[:2] for path in sorted(folder.iterdir())] == ["3", "6."]
    assert restore(killed, "base")[2] == 3
    go(config, killed)
    assert [path.name for path in folder.iterdir()] == ["9"]
    assert same(everything(killed), everything(workdir))


def test_a_run_whose_newest_checkpoint_is_broken_goes_on_from_the_one_before_to_the_same_bits(
    undisturbed, tmp_path, capsys
):
    config, workdir = undisturbed
    config = dataclasses.replace(config, log=Log(every=1, keep=2, pictures=False))
    go(config, tmp_path)
    (tmp_path / "results.json").unlink()
    folder = checkpoint_folder(tmp_path, "base")
    (folder / "9" / "variables" / "_METADATA").write_text("")
    capsys.readouterr()
    assert load(tmp_path).step == 6
    go(config, tmp_path)
    printed = capsys.readouterr()
    assert printed.out.count("_METADATA is not what was written there; step 6 is taken") == 2
    assert "resumed at step 6 of 9" in printed.out
    assert not printed.err
    assert sorted(path.name for path in folder.iterdir()) == ["6", "9", "9.broken"]
    assert same(everything(tmp_path), everything(workdir))


def test_a_phase_never_starts_from_an_older_checkpoint_than_was_evaluated(
    config, finished, tmp_path
):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    results = json.loads((workdir / "results.json").read_text())
    del results["full"]
    (workdir / "results.json").write_text(json.dumps(results))
    shutil.rmtree(checkpoint_folder(workdir, "full"))
    both = checkpoint_folder(workdir, "both")
    shutil.copytree(both / "3", both / "2")
    (both / "3" / "variables" / "_METADATA").write_text("")
    with pytest.raises(InputError, match=r"both/3 is broken"):
        go(config, workdir)


@pytest.mark.parametrize("name", ["results.json", "config.json"])
@pytest.mark.parametrize(
    "content",
    [
        b"", b'{"base": ', b"\x00" * 300, b"\xff\xfe", b"null", b"[]", b"5",
        b'{"base": 5}', b'{"base": {}}', b'{"base": {"headline": 1}}', b'{"model": {"wings": 1}}',
    ],
)  # fmt: skip
def test_damaged_files_of_a_run_are_named_in_one_line(config, finished, tmp_path, name, content):
    (tmp_path / "config.json").write_text((finished[0] / "config.json").read_text())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"[Rr]emove") as told:
        go(config, tmp_path)
    assert name in str(told.value)
    assert "\n" not in str(told.value)


def test_a_checkpoint_that_cannot_be_written_ends_the_run(undisturbed, tmp_path, monkeypatch):
    config, _ = undisturbed
    save = ocp.Checkpointer.save

    def fail_second(self, folder, **given):
        if folder.stem == "6":
            raise OSError(28, "No space left on device")
        return save(self, folder, **given)

    monkeypatch.setattr(ocp.Checkpointer, "save", fail_second)
    with pytest.raises(InputError, match="No space left on device"):
        go(config, tmp_path)
    assert restore(tmp_path, "base")[2] == 3
    assert not (tmp_path / "results.json").exists()


def test_a_loss_that_is_no_number_stops_the_phase_and_keeps_the_checkpoint(
    undisturbed, tmp_path, monkeypatch
):
    config, _ = undisturbed
    original = one_phase.parallel_train_steps

    def poisoned(update):
        step = original(update)
        calls = []

        def spoil_fifth(state, *values):
            calls.append(0)
            if len(calls) == 5:
                state = state.replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
            return step(state, *values)

        return spoil_fifth

    monkeypatch.setattr(one_phase, "parallel_train_steps", poisoned)
    with pytest.raises(InputError, match=r"base: the loss is nan at step 5.* of step 3\. Lower"):
        go(config, tmp_path)
    _, variables, step = restore(tmp_path, "base")
    assert step == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_weights_that_are_no_numbers_are_never_saved(undisturbed, tmp_path, monkeypatch):
    """The last step of an epoch spoils them; its loss was still a number."""
    config, _ = undisturbed
    original = one_phase.parallel_train_steps

    def poisoned(update):
        step = original(update)
        calls = []

        def spoil_after_sixth(*values):
            calls.append(0)
            state, metrics = step(*values)
            if len(calls) == 6:
                state = state.replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
            return state, metrics

        return spoil_after_sixth

    monkeypatch.setattr(one_phase, "parallel_train_steps", poisoned)
    with pytest.raises(
        InputError, match=r"weights after step 6 are no numbers.* of step 3\. Lower"
    ):
        go(config, tmp_path)


def test_the_best_checkpoint_is_kept_and_found(rendered, tmp_path, monkeypatch):
    config = tiny.config(
        rendered, (LONG,), log=Log(every=1, keep=1, evaluate_every=1), restore="best"
    )
    maps = iter([0.2, 0.6, 0.4, 0.4])

    def scored(*_):
        evaluation = {"scores": {"cmc": [0.5]}}
        return {"title": "", "headline": "", "map": next(maps), "evaluation": evaluation}

    for module in (loop, one_phase):
        monkeypatch.setattr(module, "evaluate_phase", scored)
    go(config, tmp_path)
    lines = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    logged = [(line["epoch"], line["scores"]) for line in lines if "scores" in line]
    assert logged == [(n, {"rank-1": 0.5, "mAP": x}) for n, x in enumerate((0.2, 0.6, 0.4), 1)]
    assert restore(tmp_path, "base", "best")[2] == 6
    assert restore(tmp_path, "base", "last")[2] == 9
    kept = sorted(path.name for path in checkpoint_folder(tmp_path, "base").iterdir())
    assert kept == ["6", "9"]
    assert load(tmp_path, which="best").step == 6


def test_weights_are_taken_by_path_and_shape_and_the_lines_say_so():
    shaped = {
        "params": {
            "pose": {"a": np.zeros(2), "b": np.zeros(3)},
            "head": {"kernel": np.zeros((4, 5))},
            "plenary": {"kernel": np.zeros(6)},
        }
    }
    sources = {
        "first": {"params": {"pose": {"a": np.ones(2), "b": np.ones(3)}}},
        "second": {
            "params": {
                "pose": {"a": 2 * np.ones(2)},
                "head": {"kernel": np.ones((4, 7))},
                "old": {"kernel": np.ones(1)},
            }
        },
    }
    taken, lines = take_matching(shaped, sources)
    assert set(taken["params"]) == {"pose"}
    np.testing.assert_array_equal(taken["params"]["pose"]["a"], [2, 2])
    np.testing.assert_array_equal(taken["params"]["pose"]["b"], [1, 1, 1])
    assert lines == [
        "taken from first: pose (1)",
        "taken from second: pose (1)",
        "new: head (1), plenary (1)",
        "dropped from second: head (1), old (1)",
    ]


def test_the_learning_rate_is_halved_at_the_right_steps():
    rate = schedule(Phase(learning_rate=0.8, halve_every=2), per_epoch=5)
    assert [float(rate(step)) for step in (0, 9, 10, 19, 20, 30)] == pytest.approx(
        [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]
    )


def test_the_learning_rate_rises_linearly_over_the_warm_up():
    rate = schedule(Phase(learning_rate=0.8, warmup_epochs=0.8, halve_every=2), per_epoch=5)
    assert [float(rate(step)) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
