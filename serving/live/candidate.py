"""What canary and shadow need of the candidate."""

from collections.abc import Callable

from serving.live.settings import Trial
from serving.models.engine import Answer, Question


class CandidateError(Exception):
    """The candidate refused, failed, or is another release than the trial names."""


AskCandidate = Callable[[Question, Trial], Answer]
"""Asks the candidate, encoder and index of one release together; raises `CandidateError`."""
