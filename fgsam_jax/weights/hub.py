"""Where a file of weights lies: a path, or a place on the Hugging Face hub."""

import re
from pathlib import Path

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.files import expanded
from fgsam_jax.weights.readers import one_line, sha256

_PLACE = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+?))?/([^@#]+)")


def locate(name: str) -> Path:
    """The file that a name stands for, downloaded where it is on the hub and not yet here.

    Args:
      name: a path, or `hf://owner/name/file` or `hf://owner/name@revision/file`, either with
        `#sha256=...` at its end. The hub's cache and its switch HF_HUB_OFFLINE apply.

    Raises:
      InputError: the file is not there, not to be had, or has another checksum.
    """
    place, _, checksum = name.partition("#sha256=")
    path = _download(place) if place.startswith("hf://") else expanded(place)
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if checksum and (found := sha256(path)) != checksum.strip().lower():
        raise InputError(
            f"{path} has the sha256 {found}, needed {checksum}: it is another file or a broken "
            "download"
        )
    return path


def _download(place: str) -> Path:
    match = _PLACE.fullmatch(place)
    if not match:
        raise InputError(f"{place} is no place on the hub: needed hf://owner/name/file")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError
    except ImportError:
        raise InputError(
            f'{place} needs huggingface_hub, which is not installed: pip install -e ".[convert]", '
            "or download the file and give its path"
        ) from None
    repository, revision, file = match.groups()
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        raise InputError(
            f"{file} of {repository} is not in the hub's cache and cannot be had now: download it "
            f"from the repository {repository} on huggingface.co and give its path "
            f"({one_line(error)})"
        ) from None
