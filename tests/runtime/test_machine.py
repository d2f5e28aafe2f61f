import subprocess
import sys

import numpy as np

_CHILD = "from fgsam_jax.runtime.machine import peak_memory; print(peak_memory()['host'])"


def test_the_memory_of_the_process_that_started_it_does_not_count():
    held = np.ones(2**27, np.uint64)  # 1 GiB
    child = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, check=True)
    assert 2**25 < int(child.stdout) < held.nbytes
