"""Releases: immutable directories of encoder, index and evidence that belong together.

Import from the modules: `fingerprint`, `manifest`, `bundle`, `query_encoder`, `parity`. Serving
imports them in an environment of its own, and should load no more than it needs.
"""
