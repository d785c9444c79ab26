"""Is a release whole, and do its encoders and its index belong together?"""

from __future__ import annotations

from mmr.errors import IndexMismatchError
from mmr.indexing import check_pair
from mmr.release.bundle import Release
from mmr.release.query_encoder import read_encoder_record


def check_whole(release: Release, *, hashes: bool = True) -> None:
    """Compares files with their hashes, and the three places that name the encoder.

    Args:
        release: An opened release.
        hashes: Whether every file is hashed.

    Raises:
        CorruptArtifactError: A file differs, is missing, or is extra; each is named.
        IndexMismatchError: Manifest, query encoder and index do not name the same encoder; the
            message has both that differ.
    """
    if hashes:
        release.verify()
    named = release.manifest.encoder_fingerprint
    held = read_encoder_record(release.query_encoder_dir).fingerprint
    if held != named:
        raise IndexMismatchError(
            f"Release {release.release_id} names encoder {named}, but holds query encoder {held}. "
            "Register the release again."
        )
    check_pair(release.index_dir, encoder_fingerprint=named)
