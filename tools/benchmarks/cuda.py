"""What XLA makes of our programs for NVIDIA GPUs. It needs JAX's plugin, no GPU and no driver.

One alone, its compiled text too:
    cd tools && python -m benchmarks.cuda --card h100 --program fgsam --dtype bfloat16 --text FILE
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.cards import CARDS, Card

DEMO = ("demo-pose", "demo-base", "demo-base_pose", "demo-fgsam")
PROGRAMS = (
    *("pose", "base", "base_pose", "fgsam", "fgsam-remat", "fgsam-all", "fgsam-all-remat"),
    *("embed", "osnet", "bilinear-gram", "bilinear-fft", "bilinear-roll", "bilinear-textbook"),
)
DTYPES = ("bfloat16", "float32")
_FLAGS = "--xla_gpu_autotune_level=0"  # nothing can be timed
_LANES = 2  # processes at a time: each takes up to 3 GB and more than one core


def cuda(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every program for every card, each compiled in a process of its own.

    The programs are those of `benchmarks.programs`: a step is what training runs on a GPU, a
    tenth of a call with ten updates. "outcome" is "compiled" or the reason why not.
    "state" are weights and the optimiser's numbers, "images" those that stay on the device,
    "needed" is all together with the temporaries. GFLOP are those of convolutions and products,
    also given by type, with "tf32" for float32 that tensor cores round; "bound" is the sum over all
    kernels of what their arithmetic at the card's peak or their traffic at its bandwidth takes at
    least. "transposes" reorder more than a MiB, "unordered" are the scatters that add in no fixed
    order, "waits" let the host wait for a number.

    Not known without a GPU are the algorithms of cuDNN and cuBLAS, what these take for themselves,
    and any time. XLA_FLAGS of the environment are passed on. The plugin for CUDA 13 takes the cards
    from Turing on, the one for CUDA 12 those before. With --quick the demo's four steps for two
    cards alone.
    """
    cards = [name for name, card in CARDS.items() if card.installed()]
    if not cards:
        raise SystemExit('the section cuda needs a plugin of JAX: pip install -e ".[cuda]"')
    names, cards = (DEMO, cards[:2]) if options.quick else (PROGRAMS, cards)
    # A card's programs follow each other, for they find their common kernels in one file.
    lanes = [ThreadPoolExecutor(1) for _ in range(_LANES)]
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            lanes[number % _LANES].submit(attempt, card, name, dtype, Path(scratch, card))
            for number, card in enumerate(cards)
            for name in names
            for dtype in DTYPES
        ]
        try:
            for row in as_completed(rows):
                yield row.result()
        finally:
            for lane in lanes:
                lane.shutdown(cancel_futures=True)


def attempt(card: str, name: str, dtype: str, kernels: Path) -> dict[str, Any]:
    """A row for a program, in a process of its own, which a failed check of XLA ends.

    Args:
      card: its name.
      name: of the program.
      dtype: that it computes in.
      kernels: where XLA finds and keeps kernels, for one process at a time.
    """
    row = {"section": "cuda", "what": f"{card} {name} {dtype}"}
    command = [sys.executable, "-m", "benchmarks.cuda"]
    command += ["--card", card, "--program", name, "--dtype", dtype]
    flags = f"--xla_gpu_kernel_cache_file={kernels} {os.environ.get('XLA_FLAGS', '')}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "XLA_FLAGS": flags}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        return row | {"outcome": reason(ended.returncode, ended.stderr)}
    return row | {"outcome": "compiled"} | json.loads(ended.stdout.splitlines()[-1])


def reason(code: int, errors: str) -> str:
    """In one line, why a process ended that was to compile."""
    lines = [line for line in errors.splitlines() if line.strip()]
    telling = [x for x in lines if "Check failed" in x] or [x for x in lines if "Error: " in x]
    said = (telling or lines[-1:] or [f"exit status {code}"])[0]
    by = f"{signal.Signals(-code).name}, " if code < 0 else ""
    return by + re.sub(r"^F\d+ \S+ +\d+ ", "", said)[:300]


def compiled(card: Card, name: str, dtype: str, text: Path | None = None) -> dict[str, Any]:
    """Compiles a program in this process and counts what it is made of."""
    from jax.experimental import topologies

    from benchmarks.kernels import counted
    from benchmarks.programs import lower

    begun = time.monotonic()
    topology = topologies.get_topology_desc(
        "", platform="cuda", target_config=card.text, topology=f"1x1x{card.devices}"
    )
    lowered, sizes, updates = lower(name, dtype, topology.devices)
    program = lowered.compile()
    if text:
        text.write_text(program.as_text())
    memory = program.memory_analysis()
    sizes["temporary"] = memory.temp_size_in_bytes
    sizes["needed"] = memory.argument_size_in_bytes + memory.output_size_in_bytes
    sizes["needed"] += memory.temp_size_in_bytes - memory.alias_size_in_bytes
    row = {f"{name}_mib": size / 2**20 for name, size in sizes.items()}
    row |= counted(program.as_text(), card.peaks, card.bandwidth, updates)
    return row | {"fits": fits(sizes, card.room), "seconds": time.monotonic() - begun}


def fits(sizes: dict[str, float], room: float) -> str:
    """Whether a program fits into the memory that JAX takes of a card."""
    if sizes["needed"] <= room:
        return "yes"
    return "images sent" if sizes["needed"] - sizes["images"] <= room else "no"


def main() -> None:
    """Compile one program and print a line of JSON."""
    parser = argparse.ArgumentParser(description="Compile one program for a card.")
    parser.add_argument("--card", choices=CARDS, default="h100")
    parser.add_argument("--program", default="fgsam", help="see benchmarks/programs.py")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--text", type=Path, help="write the compiled program here")
    options = parser.parse_args()
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    os.environ["XLA_FLAGS"] = f"{_FLAGS} {os.environ.get('XLA_FLAGS', '')}"
    card = CARDS[options.card]
    print(json.dumps(compiled(card, options.program, options.dtype, options.text)))


if __name__ == "__main__":
    main()
