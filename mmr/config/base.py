"""The base of all settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen; an unknown key is an error, found before any work starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")
