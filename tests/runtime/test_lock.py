import signal
import subprocess
import sys

import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.lock import sole_run


def test_a_second_start_in_a_folder_is_refused_while_the_first_runs(tmp_path):
    run = tmp_path / "run"
    with sole_run(run):
        with (
            pytest.raises(InputError, match="another training runs in"),
            sole_run(tmp_path / "run"),
        ):
            pass
        with sole_run(tmp_path / "other"):
            pass
    with sole_run(run):
        pass


def test_the_lock_of_a_killed_run_holds_nobody_up(tmp_path):
    holder = (
        "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", holder, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another training runs in"), sole_run(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    with sole_run(tmp_path):
        pass
