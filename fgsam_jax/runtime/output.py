"""Lines and files for people; of several processes the first writes."""

import sys
from pathlib import Path

from tqdm import tqdm

from fgsam_jax.runtime import distributed


def say(text: str) -> None:
    """Print a line without breaking a progress bar; of several processes the first prints."""
    if distributed.first():
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def write_atomically(path: Path, text: str) -> None:
    """A run killed while it writes leaves the old file. Of several processes the first writes."""
    if not distributed.first():
        return
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(text)
    scratch.replace(path)
