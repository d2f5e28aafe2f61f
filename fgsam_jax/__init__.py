"""Person re-identification in JAX: FGSAM, the fine-grained spatial alignment model."""

from typing import Any

from fgsam_jax.version import __version__

__all__ = ["Gallery", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # They bring JAX and Orbax; the package itself should import at once.
    if name == "load":
        from fgsam_jax.retrieval.embedder import load

        return load
    if name == "Gallery":
        from fgsam_jax.retrieval.gallery import Gallery

        return Gallery
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
