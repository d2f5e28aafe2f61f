"""NVIDIA cards that programs are compiled for: what XLA must know of them, and their peaks."""

import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent / "cards"
_JAX_TAKES = 0.75  # of a card's memory, unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise


class Card(NamedTuple):
    """A card, or several of one kind in a host.

    Attributes:
      spec: the name of its file in cards/.
      peaks: FLOP/s by type, dense, with float32 sums where the sheet tells them apart.
      devices: how many.
      plugin: of JAX, that knows it.
    """

    spec: str
    peaks: dict[str, float]
    devices: int = 1
    plugin: str = "jax_cuda13_plugin"

    @property
    def text(self) -> str:
        """What XLA takes as the description of a GPU."""
        return (_FOLDER / f"{self.spec}.txtpb").read_text()

    @property
    def bandwidth(self) -> float:
        """Bytes/s of its memory."""
        return self._number("memory_bandwidth")

    @property
    def room(self) -> float:
        """Bytes that a program may use."""
        return _JAX_TAKES * self._number("device_memory_size")

    def installed(self) -> bool:
        """Whether its plugin is here."""
        return importlib.util.find_spec(self.plugin) is not None

    def _number(self, name: str) -> float:
        found = re.search(rf"{name}: (\d+)", self.text)
        assert found is not None, name
        return float(found[1])


# Of the data sheets "NVIDIA H100 Tensor Core GPU" (SXM), "NVIDIA T4" and "NVIDIA V100", and the
# white papers "NVIDIA Ampere GA102" (RTX 3070) and "NVIDIA GeForce GTX 1080". Before Ampere there
# is no bfloat16 and no TF32: XLA computes both in float32.
_H100 = {"bf16": 989e12, "f16": 989e12, "tf32": 495e12, "f32": 67e12}
CARDS = {
    "h100": Card("h100", _H100),
    "rtx3070": Card("rtx3070", {"bf16": 40.6e12, "f16": 40.6e12, "tf32": 20.3e12, "f32": 20.3e12}),
    "t4": Card("t4", {"f16": 65e12, "f32": 8.1e12}),
    "h100x8": Card("h100", _H100, devices=8),
    "v100": Card("v100", {"f16": 125e12, "f32": 15.7e12}, plugin="jax_cuda12_plugin"),
    "gtx1080": Card("gtx1080", {"f32": 8.9e12}, plugin="jax_cuda12_plugin"),
}
