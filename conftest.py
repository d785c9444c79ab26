"""Imported before any test imports torch: mmr decides how torch's threads wait for each other."""

import mmr  # noqa: F401
