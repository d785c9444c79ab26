"""Diagnosis: what is wrong with an environment, a workspace, its releases and its server."""
