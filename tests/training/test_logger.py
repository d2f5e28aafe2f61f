import json

import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.training.logger import PhaseLog


def log(workdir, first=0):
    return PhaseLog(workdir, "base", first=first, last=9, per_epoch=3, every=1)


@pytest.mark.parametrize(
    "tail",
    [
        b'{"phase": "base", "st', b"\xff\xfe\n", bytes(4096), b"\n\n", b"5\nnull\n[]\n{}\n",
        b'"x"\n{"phase": "base"}\n{"phase": "base", "step": "2"}\n', b"[" * 100_000 + b"\n",
    ],
)  # fmt: skip
def test_a_damaged_tail_of_the_log_is_dropped_and_the_rest_stays(tmp_path, tail):
    good = "".join(json.dumps({"phase": "base", "step": step}) + "\n" for step in (1, 2, 3))
    path = tmp_path / "log.jsonl"
    path.write_bytes(good.encode() + tail)
    log(tmp_path, first=2).close()
    assert path.read_text() == good[: len(good) * 2 // 3]


def test_an_evaluation_is_a_line_of_its_epoch_and_forgotten_by_a_run_that_goes_back(tmp_path):
    written = log(tmp_path)
    written.scores(3, {"mAP": 0.25})
    written.scores(6, {"mAP": 0.5})
    written.close()
    log(tmp_path, first=3).close()
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line) == {"phase": "base", "epoch": 1, "step": 3, "scores": {"mAP": 0.25}}


def test_a_log_that_is_no_file_is_told_of(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(InputError, match=r"log\.jsonl cannot be read: it is no regular file"):
        log(tmp_path)


def test_events_are_written_for_tensorboard_and_later_ones_hidden(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    written = log(tmp_path, first=3)
    written.step(4, {"total": 0.5}, 0.1, 8)
    written.close()
    (file,) = (tmp_path / "tensorboard" / "base").iterdir()
    content, events = file.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    assert events[1].session_log.status == 1
    assert events[1].step == 4
    shown = {
        event.summary.value[0].tag: event.summary.value[0].simple_value for event in events[2:]
    }
    assert shown == {"total": 0.5, "learning_rate": pytest.approx(0.1)}
