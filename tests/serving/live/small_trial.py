"""A trial of one candidate against the live release."""

from serving.live.settings import Trial

LIVE, CANDIDATE = "live", "candidate"


def a_trial(**settings: object) -> Trial:
    defaults = {
        "trial_id": "t1",
        "release_id": CANDIDATE,
        "version": 2,
        "live_release_id": LIVE,
        "started": "2026-01-01T00:00:00+00:00",
    }
    return Trial.model_validate({**defaults, **settings})
