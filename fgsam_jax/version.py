"""The version of this package, and of all that shapes its numbers."""

import importlib.metadata
import platform

__version__ = "0.1.0"

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the packages that shape the numbers."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"fgsam_jax": __version__, "python": platform.python_version(), **found}
