"""How long the rest of a ladder may take, from what has been timed; unknown where nothing was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable


class RestTime:
    """Estimates the time that is left.

    Args:
        planned: The kind of every piece of work ahead, such as `finetune_vision`; repeated as
            often as it is due.
        kept: Kinds of further pieces that earlier runs did: they take no time as long as every one
            met so far could be reused.
    """

    def __init__(self, planned: Iterable[str], *, kept: Iterable[str] = ()) -> None:
        self._left, self._kept = Counter(planned), Counter(kept)
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def done(self, kind: str, seconds: float, *, kept: bool = False, reused: bool = False) -> None:
        """Counts one piece of work as done.

        Args:
            kind: Its kind.
            seconds: What it took when it was really done: for a reused one, then.
            kept: Whether it was one of `kept`.
            reused: Whether it could be. One of `kept` that could not speaks against the rest.
        """
        self._seconds[kind].append(seconds)
        (self._kept if kept and self._kept[kind] else self._left)[kind] -= 1
        if kept and not reused:
            self._left += self._kept
            self._kept.clear()

    def seconds(self) -> tuple[float, list[str]]:
        """Seconds left for the kinds that were timed, and the kinds left that were not."""
        known, unknown = 0.0, []
        for kind, count in self._left.items():
            timed = self._seconds.get(kind)
            if count > 0 and timed:
                known += count * sum(timed) / len(timed)
            elif count > 0:
                unknown.append(kind)
        return known, unknown

    def text(self) -> str:
        """For people: an estimate, a lower bound, or that nothing is known."""
        known, unknown = self.seconds()
        if not unknown and not known:
            return "nothing left"
        if not unknown:
            return f"about {_duration(known)} left"
        if not known:
            return "time left unknown"
        return f"more than {_duration(known)} left, {', '.join(unknown)} not timed yet"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
