"""Weights of other frameworks to a file for config.init, and a trained backbone back to PyTorch.

    python tools/convert_weights.py resnet50.pth --to weights/resnet50.safetensors
    python tools/convert_weights.py runs/market --to mine.safetensors

SOURCE is a .pth, .safetensors, .caffemodel, a folder of .npy (Caffe's blobs), hf://owner/name/file,
a run's folder or a file that was converted before. The last two go back, to the net's public names;
a trained baseline with what its descriptors need beside the backbone. docs/weights.md lists what is
known, with the licences.
"""

import argparse
from pathlib import Path
from typing import Any

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.entry import Parser, one_line
from fgsam_jax.runtime.files import expanded


def main(arguments: list[str] | None = None) -> None:
    """Convert as the command line says. Raises InputError for what the user can mend."""
    given = _parser().parse_args(arguments)
    from fgsam_jax.weights import hub, readers

    source = hub.locate(given.source)
    target = expanded(given.to)
    if (source / "checkpoints").is_dir() or readers.metadata(source).get("format") == "fgsam_jax":
        lines = _export(source, target, given)
    else:
        lines = _import(source, target, given)
    print("\n".join([*lines, f"written: {target}"]))


def _parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--to", required=True, metavar="PATH", help="a .safetensors")
    parser.add_argument("--partial", action="store_true", help="weights may be missing")
    parser.add_argument(
        "--variant", default="", help="the backbone they are for, if it is not the one recognised"
    )
    parser.add_argument("--phase", help="of a run; its last one otherwise")
    parser.add_argument("--which", default="last", choices=["last", "best"], help="checkpoint")
    return parser


def _import(source: Path, target: Path, given: argparse.Namespace) -> list[str]:
    from fgsam_jax.weights import readers, storage
    from fgsam_jax.weights.convert import import_weights

    try:
        found = import_weights(readers.read(source), variant=given.variant, partial=given.partial)
    except InputError as error:
        raise InputError(
            str(error) if str(source) in str(error) else f"{source}: {error}"
        ) from None
    storage.save(
        target,
        storage.Weights(found.module, found.variant, found.weights),
        source=source.name,
        sha256=readers.sha256(source),
        missing=found.missing,
    )
    use = f"config.init.{found.module}={target}"
    if found.module == "backbone":
        use += f" with config.model.backbone={found.variant}"
    return [*found.lines, f"to use it: {use}"]


def _export(source: Path, target: Path, given: argparse.Namespace) -> list[str]:
    from fgsam_jax.export import pytorch
    from fgsam_jax.weights import storage

    head: dict[str, Any] = {}
    about: dict[str, str] = {}
    if source.is_dir():
        held, head, about, title = pytorch.trained_backbone(source, given.phase, given.which)
    else:
        held, title = storage.load(source), str(source)
    arrays = pytorch.export_weights(held)
    storage.write(target, arrays | head, {"format": "pt", "variant": held.variant} | about)
    note = pytorch.not_torchvision(held.variant)
    if head:
        note.append(f"taken for its descriptors: {', '.join(head)}")
    if about:
        note.append("kept as metadata: " + ", ".join(f"{k} {v}" for k, v in about.items()))
    return [f"taken: {len(arrays)} arrays of {held.variant} from {title}", *note]


if __name__ == "__main__":
    with one_line():
        main()
