"""The audit trail as lines of JSON, a mirror that outlives the tracking store."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter, ValidationError

from mmr.tracking.protocols import Action, AuditRecord

_RECORD = TypeAdapter(AuditRecord)


def record_from_tags(tags: Mapping[str, str], *, finished: bool) -> AuditRecord:
    """The record that the tags of a run hold."""
    return AuditRecord(
        when=tags["when"],
        action=cast("Action", tags["action"]),
        release_id=tags["release_id"],
        replaced=tags["replaced"] or None,
        why=tags["why"],
        who=tags["who"],
        finished=finished,
    )


def append_record(path: Path, record: AuditRecord) -> None:
    """Appends one line, in one write, and flushes it to disk.

    A last line that a full disk or a killed process cut short is left as it is, on a line of its
    own.
    """
    line = json.dumps(asdict(record), ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = "\n" + line
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_records(path: Path) -> tuple[list[AuditRecord], list[int]]:
    """The records of a mirror, oldest first, and the numbers of lines that are none.

    Args:
        path: The file; where there is none, there are no records.
    """
    records: list[AuditRecord] = []
    damaged: list[int] = []
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_RECORD.validate_json(line))
        except ValidationError:
            damaged.append(number)
    return records, damaged
