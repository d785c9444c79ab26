"""The audit trail as lines of JSON, a mirror that outlives the tracking store."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from mmr.tracking.protocols import AuditRecord


def append_record(path: Path, record: AuditRecord) -> None:
    """Appends one line, in one write, and flushes it to disk."""
    line = json.dumps(asdict(record), ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
