"""Trained models and weights for other programs.

- `files`: a model as ONNX or StableHLO, and the programs that run it.
- `parity`: `fgsam_jax.export.check`, whether a file gives what the model gives.
- `quantized`: ONNX in 8-bit integers.
- `pytorch`: weights under the names of PyTorch's models.
"""

from typing import Any

__all__ = ["check"]


def __getattr__(name: str) -> Any:
    # `check` brings JAX and Orbax, which the weights of a converted file do not need.
    if name == "check":
        from fgsam_jax.export.parity import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
