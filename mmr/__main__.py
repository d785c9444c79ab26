"""`python -m mmr` is the console script `mmr`."""

from mmr.cli import main

main()
