"""The part of a release that one Triton model version holds, checked before anything is parsed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmr.errors import ArtifactError, IndexMismatchError
from mmr.release.bundle import Release
from mmr.release.manifest import ReleaseManifest
from mmr.release.query_encoder import OnnxQueryEncoder


def check_numpy() -> None:
    """Refuses NumPy 2, with which Triton 2.51's Python backend passes wrong tensors in silence.

    Raises:
        ArtifactError: NumPy is too new.
    """
    if int(np.__version__.split(".")[0]) >= 2:
        raise ArtifactError(
            f"The Triton side runs NumPy {np.__version__} from {np.__file__}, but needs numpy<2. "
            "Build its environment with `make setup`."
        )


@dataclass(frozen=True)
class ServedRelease:
    """A directory with `release.json` and some of the release's folders.

    Attributes:
        directory: Where it lies.
        manifest: The whole release's manifest.
    """

    directory: Path
    manifest: ReleaseManifest

    @classmethod
    def open(cls, directory: Path, *, parts: tuple[str, ...]) -> ServedRelease:
        """Reads the manifest and checks the hash of every file in the given folders.

        Raises:
            CorruptArtifactError: A file differs from its recorded hash, is missing, or is extra.
        """
        release = Release.open(directory)
        release.verify(*parts)
        return cls(directory, release.manifest)

    def open_encoder(self, *, threads: int) -> OnnxQueryEncoder:
        """Loads the query encoder.

        Raises:
            IndexMismatchError: It is not the encoder that the manifest names.
        """
        encoder = OnnxQueryEncoder(self.directory / "query_encoder", threads=threads)
        if encoder.fingerprint != self.manifest.encoder_fingerprint:
            raise IndexMismatchError(
                f"Release {self.manifest.release_id} names encoder "
                f"{self.manifest.encoder_fingerprint}, but holds encoder {encoder.fingerprint}. "
                "Register the release again."
            )
        return encoder
