"""Cron expressions: checked before anything is scheduled, written as each scheduler wants them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from mmr.errors import ConfigError

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HORIZON_DAYS = 8 * 366  # a 29 February may be eight years away
_PART = re.compile(r"(\*|\d+(?:-\d+)?)(?:/(\d+))?")


@dataclass(frozen=True)
class CronField:
    """One field: the values at which it matches.

    Attributes:
        text: As written, with numbers for names.
        values: Ascending.
        any: Whether it is `*` or `*/n`: a day then has to match the other day field alone.
    """

    text: str
    values: tuple[int, ...]
    any: bool


@dataclass(frozen=True)
class CronSchedule:
    """When something runs: minute, hour, day of the month, month, day of the week (0 is Sunday).

    Where both day fields are restricted, a day matches if either does, as in every cron.
    """

    minute: CronField
    hour: CronField
    day: CronField
    month: CronField
    weekday: CronField

    def as_crontab(self) -> str:
        """Five fields."""
        fields = (self.minute, self.hour, self.day, self.month, self.weekday)
        return " ".join(field.text for field in fields)

    def as_kubeflow(self) -> str:
        """Six fields, seconds first, as Kubeflow Pipelines wants them."""
        return f"0 {self.as_crontab()}"

    def as_on_calendar(self) -> list[str]:
        """`OnCalendar=` values of a systemd timer; two where either day field may match."""
        time = f"{_listed(self.hour, 24)}:{_listed(self.minute, 60)}:00"
        months = _listed(self.month, 12)
        days = f"*-{months}-{_listed(self.day, 31)} {time}"
        names = ",".join(_WEEKDAYS[value] for value in self.weekday.values)
        weekdays = "" if len(self.weekday.values) == len(_WEEKDAYS) else f"{names} "
        if self.day.any or self.weekday.any:
            return [f"{weekdays}{days}"]
        return [days, f"{weekdays}*-{months}-* {time}"]

    def upcoming(self, after: datetime) -> Iterator[datetime]:
        """The times at which it runs, none of them more than eight years away."""
        first = after.replace(hour=0, minute=0, second=0, microsecond=0)
        for offset in range(_HORIZON_DAYS):
            day = first + timedelta(days=offset)
            if self._matches(day):
                for hour in self.hour.values:
                    for minute in self.minute.values:
                        time = day.replace(hour=hour, minute=minute)
                        if time > after:
                            yield time

    def _matches(self, day: datetime) -> bool:
        in_month = day.day in self.day.values
        in_week = day.isoweekday() % 7 in self.weekday.values
        either = not (self.day.any or self.weekday.any)
        return day.month in self.month.values and (
            in_month or in_week if either else in_month and in_week
        )


def parse_cron(text: str) -> CronSchedule:
    """Reads five fields: minute, hour, day of the month, month, day of the week.

    Numbers, `*`, ranges (`1-5`), steps (`*/15`), lists, and English names of months and days.

    Raises:
        ConfigError: It is no such expression, or one that never comes.
    """
    parts = text.split()
    if len(parts) != 5:
        raise ConfigError(
            f"{text!r} has {len(parts)} fields, but a cron expression has five: minute, hour, day "
            "of the month, month, day of the week. `0 3 * * *` is every night at three."
        )
    minute, hour, day, month, weekday = parts
    schedule = CronSchedule(
        minute=_field(minute, "minute", 0, 59),
        hour=_field(hour, "hour", 0, 23),
        day=_field(day, "day of the month", 1, 31),
        month=_field(month, "month", 1, 12, names=_MONTHS, first=1),
        weekday=_field(weekday, "day of the week", 0, 7, names=_WEEKDAYS, first=0),
    )
    if next(schedule.upcoming(datetime(2024, 1, 1)), None) is None:
        raise ConfigError(f"{text!r} never comes: no such month has such a day.")
    return schedule


def _field(
    text: str, name: str, low: int, high: int, *, names: tuple[str, ...] = (), first: int = 0
) -> CronField:
    numbers = text
    for place, word in enumerate(names):
        numbers = re.sub(rf"\b{word}\b", str(place + first), numbers, flags=re.IGNORECASE)
    values: set[int] = set()
    for part in numbers.split(","):
        values |= _part(part, text, name, low, high)
    if name == "day of the week" and 7 in values:  # not everywhere a Sunday: written as 0
        values = {value % 7 for value in values}
        numbers = ",".join(map(str, sorted(values)))
    return CronField(numbers, tuple(sorted(values)), any=numbers.startswith("*"))


def _part(part: str, text: str, name: str, low: int, high: int) -> set[int]:
    match = _PART.fullmatch(part)
    if match is None:
        _refuse(text, name, low, high, f"{part!r} is no number, range, step or `*`")
    span, step = match[1], int(match[2] or 1)
    if span == "*":
        begin, end = low, min(high, 6) if name == "day of the week" else high
    else:
        begin, _, last = span.partition("-")  # type: ignore[assignment]
        begin, end = int(begin), int(last or begin)
        if match[2] and not last:
            end = high
    if not (low <= begin <= end <= high and step):
        _refuse(text, name, low, high, f"{part!r} lies outside, or goes backwards")
    return set(range(begin, end + 1, step))


def _refuse(text: str, name: str, low: int, high: int, why: str) -> NoReturn:
    raise ConfigError(f"The {name} {text!r} of the schedule is not from {low} to {high}: {why}.")


def _listed(field: CronField, count: int) -> str:
    return "*" if len(field.values) == count else ",".join(map(str, field.values))
