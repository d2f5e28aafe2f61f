"""Tests run on the CPU, split into four virtual devices; both must be said before JAX starts.

Programs are compiled quickly rather than well, since each runs only a few times.
"""

import os

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
).strip()


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory):
    """A folder of compiled programs, which runs of one process of tests and its own share."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    settings = {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    os.environ.update(settings)
    import jax

    jax.config.update("jax_compilation_cache_dir", folder)
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
