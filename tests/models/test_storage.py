"""What a model on disk is when writing it fails."""

from __future__ import annotations

import errno
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmr.config.model import FusionKind
from mmr.models.storage import load_retriever, save_retriever


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Within it the system refuses to let a file grow further, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_weights_that_the_system_refuses_are_its_own_error_with_the_file(
    untrained_model: Callable[[FusionKind], Path], tmp_path: Path
) -> None:
    model = untrained_model(FusionKind.TEXT_ONLY)
    retriever = load_retriever(model)
    size = (model / "encoder" / "weights.safetensors").stat().st_size

    with no_file_above(size - 1), pytest.raises(OSError, match="too large") as caught:
        save_retriever(retriever, tmp_path, training={})

    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(tmp_path / "encoder" / "weights.safetensors")
