import pwd
import subprocess
import sys

import jax
import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.runtime import startup
from fgsam_jax.runtime.files import expanded


@pytest.fixture
def homeless(monkeypatch):
    """As in a container whose user id has no name."""

    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_no_compiled_programs_are_kept(homeless, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    startup._keep_programs()
    assert jax.config.jax_compilation_cache_dir == before


def test_a_home_that_cannot_be_written_to_keeps_no_compiled_programs(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    startup._keep_programs()
    assert jax.config.jax_compilation_cache_dir == before


def test_a_path_from_a_home_that_is_not_there_is_named(homeless):
    with pytest.raises(InputError, match=r"~/sets cannot be found.*set HOME"):
        expanded("~/sets")
    assert str(expanded("sets")) == "sets"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's memory")
def test_memory_kept_between_steps_is_given_back_between_models():
    program = """
import numpy as np
from fgsam_jax.runtime import startup

def resident():
    status = open("/proc/self/status").read()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024

startup._keep_freed_memory()
begin = resident()
held = [np.ones(2**20, np.uint8) for _ in range(300)]
held = held[-1:]
kept = resident()
startup.free_memory()
print(begin, kept, resident())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    begin, kept, end = map(int, done.stdout.split())
    assert kept - begin > 250
    assert end - begin < 50
