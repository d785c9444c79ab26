"""Bricks of the two towers, their builders, and how they are stored and exported."""
