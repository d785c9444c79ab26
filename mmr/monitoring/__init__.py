"""Holds live queries against what a release remembers of its training queries."""
