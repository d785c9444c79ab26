"""The exceptions of mmr; every one that a user can meet is a `MmrError`.

MmrError                     the command line prints it as `error: ...` and exits with status 1
├── ConfigError              a setting is wrong, found before any work starts
├── DataContractError        a feed or a dataset breaks the promised schema
│   └── ValidationFailedError   an expectation of severity `error` does not hold
├── ArtifactError            a model, index, release or workspace on disk cannot be used
│   ├── IndexMismatchError   index and encoder disagree
│   └── CorruptArtifactError a file differs from its recorded hash, or is cut short
├── TrackingError            the experiment tracker or registry refused or is not reachable
└── ServingError             the inference server refused, timed out, or cannot be started

Messages say what is wrong, with the values, then the cure. Build long texts in a classmethod and
leave `__init__(message)` untouched, so that errors survive the trip between processes.
"""


class MmrError(Exception):
    """Root of the tree: something the user can act on."""


class ConfigError(MmrError):
    """A setting is wrong, found before any work starts."""


class DataContractError(MmrError):
    """A feed or a dataset breaks the promised schema."""


class ValidationFailedError(DataContractError):
    """An expectation of severity `error` does not hold."""


class ArtifactError(MmrError):
    """A model, index, release or workspace on disk cannot be used."""


class IndexMismatchError(ArtifactError):
    """The index holds vectors that the encoder at hand does not produce."""


class CorruptArtifactError(ArtifactError):
    """A file differs from its recorded hash, or is cut short."""


class TrackingError(MmrError):
    """The experiment tracker or registry refused or is not reachable."""


class ServingError(MmrError):
    """The inference server refused, timed out, or cannot be started."""
