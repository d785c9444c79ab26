"""Multimodal product retrieval: everything that can be right or wrong by itself."""

__version__ = "0.1.0"
