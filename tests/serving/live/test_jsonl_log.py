import json
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.live.jsonl_log import JsonlLog, read_log
from serving.live.settings import LogLimits


def test_records_come_back_in_order_before_and_after_closing(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log", LogLimits())
    log.write([{"n": 1}, {"n": 2, "text": "größer 🛋️\n"}])
    log.write([{"n": 3}])
    while_open = list(read_log(tmp_path / "log"))
    log.close()

    assert [record["n"] for record in while_open] == [1, 2, 3]
    assert list(read_log(tmp_path / "log")) == while_open
    assert while_open[1]["text"] == "größer 🛋️\n"


def test_file_is_closed_by_rename_when_it_is_large_enough(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path, LogLimits(max_file_mb=0.001))
    for number in range(30):
        log.write([{"number": number, "filler": "x" * 100}])
    names = sorted(path.name for path in tmp_path.iterdir())
    log.close()

    assert len([name for name in names if name.endswith(".jsonl")]) == 3
    assert len([name for name in names if name.endswith(".open")]) <= 1
    assert [record["number"] for record in read_log(tmp_path)] == list(range(30))


def test_oldest_closed_files_go_when_all_are_too_large(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path, LogLimits(max_file_mb=0.001, max_total_mb=0.003))
    for number in range(100):
        log.write([{"number": number, "filler": "x" * 100}])
    log.close()

    numbers = [record["number"] for record in read_log(tmp_path)]
    assert numbers == list(range(numbers[0], 100))
    assert numbers[0] > 50
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3000


def test_files_past_their_days_go_even_if_their_writer_was_killed(tmp_path: Path) -> None:
    old = tmp_path / "20200101T000000000000-1.jsonl.open"
    old.write_text('{"n": 0}\n')
    os.utime(old, (time.time() - 40 * 86_400,) * 2)
    log = JsonlLog(tmp_path, LogLimits())
    log.write([{"n": 1}])
    log.close()

    assert [record["n"] for record in read_log(tmp_path)] == [1]


def test_next_day_starts_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = JsonlLog(tmp_path, LogLimits())
    log.write([{"n": 1}])
    monkeypatch.setattr(log, "_day", "19991231")
    log.write([{"n": 2}])

    closed, being_written = list(tmp_path.glob("*.jsonl")), list(tmp_path.glob("*.jsonl.open"))
    log.close()

    assert (len(closed), len(being_written)) == (1, 1)


@given(cut=st.integers(min_value=1, max_value=40))
def test_line_cut_short_by_a_kill_is_passed_over(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("cut")
    lines = b'{"n": 1}\n{"n": 2, "text": "0123456789012345678901234"}\n'
    (directory / "a.jsonl.open").write_bytes(lines[:-cut])

    found = [record["n"] for record in read_log(directory)]
    assert found == ([1, 2] if cut == 1 else [1])  # without its line end the record is whole


def test_reader_never_sees_half_a_record_while_a_writer_rotates(tmp_path: Path) -> None:
    def write() -> None:
        log = JsonlLog(tmp_path, LogLimits(max_file_mb=0.0005))
        for number in range(300):
            log.write([{"number": number, "text": "y" * 50}])
        log.close()

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        assert all(record["text"] == "y" * 50 for record in read_log(tmp_path))
    assert len(list(read_log(tmp_path))) == 300


def test_no_directory_is_an_empty_log(tmp_path: Path) -> None:
    assert list(read_log(tmp_path / "nothing")) == []


def test_a_record_is_one_line_of_json(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path, LogLimits())
    log.write([{"text": "a\nb\u2028c"}])
    log.close()

    (path,) = tmp_path.glob("*.jsonl")
    assert json.loads(path.read_bytes()) == {"text": "a\nb\u2028c"}
    assert path.read_bytes().count(b"\n") == 1
