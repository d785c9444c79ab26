"""Feeds in, datasets out: the contract, import, preparation, validation, the showroom."""
