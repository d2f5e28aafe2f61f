"""Measure how fast this is, beside its rivals, on this machine.

    python tools/benchmark.py [--quick] [--section scoring] [--json FILE] [--rank_cy FILE]

Rivals are run in turn in one process, so that what else the machine does disturbs all alike; a
figure is the median over the rounds. The sections are in tools/benchmarks/, each says what it
measures; PyTorch, onnxruntime and OpenVINO are measured too where they are installed. FGSAM_DATA
may name a folder with market_ids.npz and Market-1501-v15.09.15; without it sets of that shape are
made up.
`--rank_cy` names fast-reid's compiled rank_cy module, which is measured too where it is there.
"""

import argparse
import importlib
import json
import os
import time
from pathlib import Path

# In this order: the ceilings are the measure of what follows.
SECTIONS = (
    "ceilings",
    "scoring",
    "pooling",
    "backbones",
    "steps",
    "recipe",
    "embedding",
    "exported",
    "counted",
    "inputs",
    "startup",
)
ALONE = ("cuda",)  # takes an hour and measures no time: only where it is asked for
_TIMES = ("section", "what", "median", "spread", "ratio", "rounds", "fastest")


def main() -> None:
    """Run the sections that were asked for, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller, fewer rounds")
    parser.add_argument("--section", choices=(*SECTIONS, *ALONE), help="one alone")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--rank_cy", type=Path, help="fast-reid's compiled module")
    options = parser.parse_args()
    # PyTorch's threads spin while they wait, and would wait long for a core that others use.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if options.section in ALONE:
        os.environ["JAX_PLATFORMS"] = "cpu"  # a plugin that finds no GPU complains
    from fgsam_jax.runtime import startup

    startup.tune()  # as in training
    rows: list[dict] = []
    print(f"{'':45}{'median':>10}{'spread':>10}{'ratio':>8}")
    for name in [options.section] if options.section else SECTIONS:
        begun, before = time.monotonic(), sum(os.times()[:4])
        print(name)
        for row in getattr(importlib.import_module(f"benchmarks.{name}"), name)(options):
            rows.append(row)
            print(_line(row), flush=True)
            if options.json:  # whoever stops it keeps what there was
                figures = _about() | {"rows": rows}
                options.json.write_text(json.dumps(figures, indent=2, default=float))
        seconds, cpu = time.monotonic() - begun, sum(os.times()[:4]) - before
        print(f"  {seconds:.0f} s, of all cores {cpu:.0f} s")


def _line(row: dict) -> str:
    figures = " " * 28
    if "median" in row:
        figures = f"{row['median']:9.4f}s{row['spread']:9.4f}s{row.get('ratio', 1):8.2f}"
    others = [f"{name} {_short(value)}" for name, value in row.items() if name not in _TIMES]
    return f"  {row['what']:43}{figures}  {', '.join(others)}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float | int) else str(value)


def _about() -> dict:
    import jax

    from fgsam_jax.version import versions

    device = jax.devices()[0]
    return {
        "device": f"{device.platform} {device.device_kind}",
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
