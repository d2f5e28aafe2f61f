import json
import os
from pathlib import Path

import pytest

from fgsam_jax.errors import InputError, printable
from fgsam_jax.runtime.files import read_bytes, read_json


def test_a_message_is_one_short_line_without_a_terminals_commands():
    error = InputError("the name a\nb\r\x1b[31m" + "x" * 1_000_000)
    assert str(error).startswith("the name a b \\x1b[31mxxx")
    assert len(str(error)) < 700


def test_printable_keeps_letters_of_other_alphabets():
    assert printable("José 张") == "José 张"


def test_only_regular_files_within_the_limit_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"abc")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="cannot be read"):
            read_bytes(path)
    assert read_bytes(tmp_path / "file", limit=3) == b"abc"
    with pytest.raises(InputError, match="3 bytes, at most 2 are read"):
        read_bytes(tmp_path / "file", limit=2)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"\xff", b"[" * 200_000, b'{"a":' * 200_000, b"null", b"9" * 9999],
)
def test_a_json_that_is_no_object_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(path)


def test_a_json_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert read_json(path) == {"a": 1}
