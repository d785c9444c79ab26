"""Cron expressions: what is accepted, when it runs, how each scheduler gets it."""

import shutil
import subprocess
from datetime import datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr.errors import ConfigError
from pipelines.cron import CronSchedule, parse_cron


@pytest.mark.parametrize(
    ("text", "kubeflow", "calendar"),
    [
        ("0 3 * * *", "0 0 3 * * *", ["*-*-* 3:0:00"]),
        ("*/20 * * * *", "0 */20 * * * *", ["*-*-* *:0,20,40:00"]),
        ("15 2 * * 1-5", "0 15 2 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 2:15:00"]),
        ("0 3 * * 7", "0 0 3 * * 0", ["Sun *-*-* 3:0:00"]),
        ("0 3 * * sat-7", "0 0 3 * * 0,6", ["Sun,Sat *-*-* 3:0:00"]),
        ("0 0 1 jan,JUL *", "0 0 0 1 1,7 *", ["*-1,7-1 0:0:00"]),
        ("0 4 1 * mon", "0 0 4 1 * 1", ["*-*-1 4:0:00", "Mon *-*-* 4:0:00"]),
    ],
)
def test_each_scheduler_gets_the_form_it_reads(
    text: str, kubeflow: str, calendar: list[str]
) -> None:
    schedule = parse_cron(text)

    assert schedule.as_kubeflow() == kubeflow
    assert schedule.as_on_calendar() == calendar


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 fields"),
        ("@daily", "has 1 fields"),
        ("0 0 3 * * *", "has 6 fields"),
        ("60 * * * *", "The minute '60' of the schedule is not from 0 to 59"),
        ("* 24 * * *", "The hour '24'"),
        ("* * 0 * *", "The day of the month '0'"),
        ("* * * 13 *", "The month '13'"),
        ("* * * * 8", "The day of the week '8'"),
        ("* * * * mun", "'mun' is no number"),
        ("5-1 * * * *", "goes backwards"),
        ("*/0 * * * *", "goes backwards"),
        ("1,,2 * * * *", "'' is no number"),
        ("-1 * * * *", "'-1' is no number"),
        ("0 0 31 2 *", "never comes"),
        ("0 0 30 feb *", "never comes"),
    ],
)
def test_what_no_scheduler_would_run_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_cron(text)


def test_leap_day_comes() -> None:
    schedule = parse_cron("30 6 29 2 *")

    assert next(schedule.upcoming(datetime(2024, 3, 1))) == datetime(2028, 2, 29, 6, 30)


FIELDS = st.tuples(
    st.sampled_from(["0", "*/30", "5,50", "10-12", "7-59/26"]),
    st.sampled_from(["*", "3", "*/8", "22-23"]),
    st.sampled_from(["*", "1", "*/9", "28-31", "13"]),
    st.sampled_from(["*", "2", "jan-mar", "*/5"]),
    st.sampled_from(["*", "0", "7", "fri", "1-5/2", "*/3"]),
)


@given(FIELDS, st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1)))
def test_upcoming_times_are_those_that_a_minute_by_minute_look_finds(
    fields: tuple[str, ...], start: datetime
) -> None:
    schedule = parse_cron(" ".join(fields))
    begin = start.replace(second=0, microsecond=0)
    minutes = (begin + timedelta(minutes=step) for step in range(1, 3 * 24 * 60))
    slow = [minute for minute in minutes if _runs_at(schedule, minute)]

    found = list(islice(schedule.upcoming(begin), len(slow)))
    assert found == slow


def _runs_at(schedule: CronSchedule, minute: datetime) -> bool:
    day = minute.day in schedule.day.values
    weekday = minute.isoweekday() % 7 in schedule.weekday.values
    stars = schedule.day.text.startswith("*") or schedule.weekday.text.startswith("*")
    return (
        minute.minute in schedule.minute.values
        and minute.hour in schedule.hour.values
        and minute.month in schedule.month.values
        and ((day and weekday) if stars else (day or weekday))
    )


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd to ask"
)
@pytest.mark.parametrize("text", ["0 3 * * *", "*/20 8-18 * * 1-5", "0 4 1 * mon", "30 6 29 2 *"])
def test_systemd_reads_every_calendar_expression(text: str) -> None:
    for expression in parse_cron(text).as_on_calendar():
        done = subprocess.run(
            ["systemd-analyze", "calendar", expression], capture_output=True, text=True, check=False
        )
        assert "Normalized form" in done.stdout, done.stderr
