"""How commands end; small programs of their own where a signal ends them."""

import gc
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.entry import INTERRUPTED, one_line

ROOT = Path(__file__).parents[2]


def ended(error, capfd):
    """The status and what is printed where an error comes out of a command."""
    with pytest.raises(SystemExit) as stopped, one_line():
        raise error
    return stopped.value.code, capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("no such folder"), "error: no such folder\n"),
        (PermissionError(13, "Permission denied", "/a\nb"), "error: /a b: Permission denied\n"),
        (OSError(28, "No space left on device"), "error: a file: No space left on device\n"),
        (MemoryError(), "error: the memory is used up; lower the phase's batch"),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 GB"), "error: RESOURCE_EXHAUSTED: 9 GB; lower"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, line, capfd):
    status, printed = ended(error, capfd)
    assert status == 1
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), one_line():
        print(1 / 0)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_inside_a_garbage_collection_still_ends_the_command(number, status, capfd):
    def collected(phase, info):
        if phase == "start" and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
            time.sleep(0)

    def collect_and_wait():
        gc.collect()
        assert sent
        time.sleep(20)

    sent = []
    gc.callbacks.append(collected)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(SystemExit) as stopped, one_line():
            collect_and_wait()
    finally:
        signal.signal(signal.SIGINT, before)
        gc.callbacks.remove(collected)
    assert stopped.value.code == status
    assert capfd.readouterr().err == INTERRUPTED + "\n"


def test_handlers_of_the_caller_come_back():
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    with one_line():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


def program(body, **environment):
    """A command of its own that does `body`."""
    script = f"from fgsam_jax.runtime.entry import one_line\nwith one_line():\n    {body}"
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_a_terminal_without_a_character_shows_its_number():
    done = program("print('60 \\xb1 2')", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, b"60 \\xb1 2\n")


def test_closed_streams_take_everything(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with one_line():
        sys.stdout.write("nobody reads this")
        sys.stdout.flush()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.close()


def test_a_platform_that_is_not_there_is_one_line():
    done = program("import jax; jax.devices()", JAX_PLATFORMS="foo")
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: Unable to initialize backend 'foo'")
    assert "set JAX_PLATFORMS" in line
