"""What runs inside Triton. Needs the packages of `requirements-triton.txt` only."""
