"""A trained model as one file for other programs: ONNX, or StableHLO for JAX without this package.

    python tools/export.py runs/market --to market.onnx
    python tools/export.py runs/market --to market.stablehlo --phase base --which best
    python tools/export.py runs/market --to market_int8.onnx --int8 crops/

uint8 RGB images [batch, height, width, 3] go in, of the size trained on; descriptors, the vectors
of the parts and the probabilities of the attributes come out, of the pose phase its maps. The file
says what made it. docs/export.md has recipes.
"""

from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.entry import Parser, one_line
from fgsam_jax.runtime.files import expanded


def main(arguments: list[str] | None = None) -> None:
    """Export as the command line says. Raises InputError for what the user can mend."""
    given = _parser().parse_args(arguments)
    from fgsam_jax.export import files

    target = expanded(given.to)
    files.check_path(target)
    if given.int8 and target.suffix != files.ONNX:
        raise InputError(f"--int8 writes a {files.ONNX}, got --to {target}")
    from fgsam_jax.export.trained import trained

    model = trained(expanded(given.workdir), given.phase, given.which)
    if given.int8:
        from fgsam_jax.export import quantized

        count = quantized.write(model, target, expanded(given.int8))
        print(f"int8: with the ranges of {count} images")
    else:
        files.write(model, target)
    note = " (8 bits; docs/export.md tells how to measure what it costs)" if given.int8 else ""
    _tell(target, model, note)


def _parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("workdir", metavar="RUN")
    parser.add_argument("--to", required=True, metavar="FILE", help="a .onnx or a .stablehlo")
    parser.add_argument("--phase", help="its name; the last with descriptors otherwise")
    parser.add_argument("--which", default="last", choices=["last", "best"], help="checkpoint")
    parser.add_argument("--int8", metavar="CROPS", help="8 bits, ranges from this folder's images")
    return parser


def _tell(target: Path, model, note: str) -> None:
    """What was written, how far its outputs are from the model's on random images, and a note."""
    import numpy as np

    from fgsam_jax.export.parity import differences

    height, width = model.size
    print(
        f"written: {target}, {target.stat().st_size / 1e6:.1f} MB: step {model.step} of "
        f"{model.info.phase} for images of {height}x{width}"
    )
    random = np.random.default_rng(0).integers(0, 256, (12, height, width, 3), np.uint8)
    for name, found in differences(target, model, random).items():
        output = max(found, key=found.__getitem__)
        print(f"{name}: differs from JAX by at most {found[output]:.1e} ({output}){note}")


if __name__ == "__main__":
    with one_line():
        main()
