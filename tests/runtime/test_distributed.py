"""Two processes of two devices train as one process does; they talk over the loopback."""

import json
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import steps
import tiny

from fgsam_jax.checkpoint import Checkpoints, checkpoint_folder, restore
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.phases import restored_results
from fgsam_jax.runtime import distributed
from fgsam_jax.training.loop import train


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def both(rendered, tmp_path_factory):
    """The folder of two processes, and what each of them found."""
    folder, port = tmp_path_factory.mktemp("two"), free_port()
    command = [sys.executable, Path(__file__).parents[1] / "worker.py", rendered, folder, port]
    with (folder / "printed").open("w") as printed:
        workers = [
            subprocess.Popen([*map(str, command), str(process)], stdout=printed, stderr=printed)
            for process in (0, 1)
        ]
        try:
            codes = [worker.wait(timeout=600) for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
    assert codes == [0, 0], (folder / "printed").read_text()[-3000:]
    found = [pickle.loads((folder / f"process{process}.pkl").read_bytes()) for process in (0, 1)]
    return folder, found


@pytest.mark.parametrize("name", steps.SEVERAL)
def test_ten_steps_of_two_processes_are_those_of_one(both, name):
    """Losses, parameters and statistics; training/test_step.py compares devices of one process."""
    _, ((_, first), (_, second)) = both
    state, history = steps.ten_steps(name, 1)
    for found_state, found_history in (first[name], second[name]):
        assert len(found_history) == 10
        assert steps.largest_difference(history, found_history) < 1e-5
        for part in ("params", "batch_stats"):
            one, two = (getattr(x, part) for x in (state, found_state))
            assert steps.largest_difference(one, two) < 1e-5


def test_both_processes_have_the_same_results_and_one_has_written_them(both):
    folder, ((first, _), (second, _)) = both
    for one, two in zip(first, second, strict=True):
        own = {"seconds": 0, "memory": 0}
        assert {**one, **own} == {**two, **own}
    assert list(json.loads((folder / "run" / "results.json").read_text()).values()) == first
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["phase"] == "base" and "epoch" not in line] == [
        1,
        2,
        3,
    ]


def test_a_run_of_two_processes_is_that_of_one(both, rendered, tmp_path):
    """Adam divides rounding by vanishing gradients: only the first steps compare closely."""
    folder, _ = both
    config = tiny.config(rendered, (tiny.BASE,))
    train(config, tmp_path, Datasets(config))
    logs = []
    for run in (tmp_path, folder / "run"):
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        logs.append([line["total"] for line in lines if "total" in line])
    assert len(logs[0]) == 3
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-3)


def test_checkpoints_of_two_processes_are_restored_on_four_devices_of_one(both, rendered):
    folder, ((results, _), _) = both
    assert jax.local_device_count() == 4
    config = tiny.config(rendered, (tiny.BASE,))
    again = restored_results(config, folder / "run", Datasets(config))
    for written, found in zip(results, again, strict=True):
        assert found["map"] == pytest.approx(written["map"], abs=1e-6)
    _, variables, _ = restore(folder / "run", "base")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_one_process_of_four_devices_goes_on_from_the_checkpoint_of_two(both, rendered, tmp_path):
    """Without its results the phase is not over: state and optimiser are restored."""
    folder, ((results, _), _) = both
    run = shutil.copytree(folder / "run", tmp_path / "run")
    (run / "results.json").unlink()
    config = tiny.config(rendered, (tiny.BASE,))
    (again,) = train(config, run, Datasets(config))
    assert again["map"] == pytest.approx(results[0]["map"], abs=1e-6)
    (state,) = Checkpoints(checkpoint_folder(run, "base")).folder.glob("[0-9]*")
    assert (state / "optimizer").is_dir()


def test_processes_that_cannot_be_found_are_told_of():
    with pytest.raises(InputError, match="--coordinator"):
        distributed.join(None, 2, 0)
