"""Ladders of systems, each rung trained, measured and compared with the one below it."""
