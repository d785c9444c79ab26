"""The training loop, its batches and its losses. It logs nothing and parses nothing."""
