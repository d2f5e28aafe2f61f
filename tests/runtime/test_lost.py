"""Two processes of which one is lost; they talk over the loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fgsam_jax.runtime.lost import LOST

ROOT = Path(__file__).parents[2]
LOSING = """
import os, signal, sys, time
from fgsam_jax.errors import InputError
from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.entry import one_line

port, process, lost = map(int, sys.argv[1:])
with one_line():
    distributed.join(f"127.0.0.1:{port}", 2, process)
    try:
        distributed.check_alike(lambda: {"the same": "one", "the rate": f"0.{process}"})
    except InputError as error:
        print(error)
    distributed.check_alike(lambda: {"the same": "one"})
    print("alike", flush=True)
    if process == lost:
        os.kill(os.getpid(), signal.SIGKILL)
    if lost == 0:
        time.sleep(60)  # at work of its own
    distributed.wait("both are here")
"""


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_at_once_and_in_one_line(lost):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", LOSING, str(port), str(process), str(lost)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in (0, 1)
    ]
    try:
        running[lost].wait(timeout=120)
        gone = time.monotonic()
        printed = [process.communicate(timeout=60) for process in running]
        assert time.monotonic() - gone < 30
    finally:
        for process in running:
            process.kill()
    assert running[lost].returncode == -signal.SIGKILL
    assert running[1 - lost].returncode == 1
    out, err = printed[1 - lost]
    assert err == LOST + "\n"
    for out, _ in printed:
        assert "alike" in out
        assert "the processes differ: the rate is 0.0 in process 0 and 0.1 in process 1" in out
