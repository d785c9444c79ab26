"""What the live model does beside answering: query log, shadow, canary. Runs inside Triton too.

Needs the packages of `requirements-triton.txt` only, and knows nothing of Triton.
"""
