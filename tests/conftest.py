"""Tests run on the CPU, split into four virtual devices; both must be said before JAX starts.

Programs are compiled quickly rather than well, since each runs only a few times.
"""

import gc
import os
from importlib.metadata import version

import pytest

FLAGS = ["--xla_force_host_platform_device_count=4", "--xla_backend_optimization_level=0"]
if version("jaxlib").startswith("0.10."):  # it compiles in a third of the time; 0.12 lacks it
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS]).strip()
gc.set_threshold(50_000, 20, 100)  # see `fgsam_jax.runtime.startup.tune`


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory):
    """A folder of compiled programs, which all processes of a run of tests share."""
    folder = tmp_path_factory.getbasetemp()
    folder = str((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "compiled")
    settings = {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**34),  # with a size JAX locks the folder
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    os.environ.update(settings)
    import jax

    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_compilation_cache_max_size", 2**34)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """A miniature of both data sets, as small as the renderer makes it."""
    from fgsam_jax.data.synthetic.render import render

    folder = tmp_path_factory.mktemp("tiny") / "set"
    render(folder, height=32, width=16, **SIZES)
    return folder


SIZES = {
    "train_identities": 6, "test_identities": 4, "images_per_identity": 8, "cameras": 3,
    "distractors": 3, "junk": 2, "pose_images": 16, "pose_val_images": 3,
}  # fmt: skip
