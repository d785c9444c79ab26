"""Finds the loaded version that holds a release, for clients that pin one."""

from dataclasses import dataclass

from serving.model_config import QUERY_ENCODER, SEARCH, TRIAL_SUFFIX
from serving.transport import NotLoadedError, Transport, text_column

_SUFFIXES = ("", TRIAL_SUFFIX)


@dataclass(frozen=True)
class Address:
    """Where to send requests.

    Attributes:
        model_suffix: Put behind the models' names; empty for what serves.
        version: Triton's version number; None for the newest.
    """

    model_suffix: str = ""
    version: int | None = None


def find_release(transport: Transport, release_id: str) -> Address:
    """Asks every loaded version which release it holds, the newest first.

    Raises:
        NotLoadedError: None of them holds it; the message names those that are held.
        ServingError: The server cannot be reached.
    """
    found = {}
    for address in _loaded(transport):
        try:
            held = release_at(transport, address)
        except NotLoadedError:
            continue  # unloaded meanwhile
        if held == release_id:
            return address
        found[address.version] = held
    loaded = ", ".join(f"{held} (version {version})" for version, held in found.items())
    raise NotLoadedError(
        f"Release {release_id} is not loaded at {transport.url}; loaded: {loaded or 'none'}. "
        f"Pin one of these, pin none, or deploy it: `mmr deploy {release_id}`."
    )


def release_at(transport: Transport, address: Address) -> str:
    """The release that one loaded version holds.

    Raises:
        NotLoadedError: No such version is loaded.
        ServingError: The server cannot be reached.
    """
    answer = transport.infer(
        QUERY_ENCODER + address.model_suffix,
        {"TEXT": text_column(["which release"])},
        ("RELEASE_ID",),
        version=address.version,
    )
    return str(answer["RELEASE_ID"][0, 0].decode())


def _loaded(transport: Transport) -> list[Address]:
    """Versions of which both models are ready; what serves comes before a trial."""
    ready = set(transport.loaded())
    return [
        Address(suffix, version)
        for suffix in _SUFFIXES
        for model, version in sorted(ready, reverse=True)
        if model == SEARCH + suffix and (QUERY_ENCODER + suffix, version) in ready
    ]
