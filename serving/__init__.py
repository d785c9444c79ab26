"""Triton serving: model repository, local launcher, deployment and the typed client.

This file imports nothing, so that the Triton side (no torch, no tritonclient needed) can import
`serving.models` and the shop's side `serving.client`, each without the other's packages.
"""
