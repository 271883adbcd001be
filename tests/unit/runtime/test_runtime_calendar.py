"""Timetables by the clocks of their zone, the days on which those are changed included; and what is no timetable."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import pytest
from hypothesis import given, settings, strategies as st

from wfctl.errors import InvalidArgumentError
from wfctl.values.schedule import Timetable
from wfd.runtime.calendar import LAST_AT, MOST_COUNTED, Cron, calendar_of, moments, zone_of

HOUR = 3_600_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def at_clock(at: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at // 1_000, UTC).astimezone(zone)


def shown(cron: str, after: str, number: int = 3, tz: str = "Europe/Paris") -> list[tuple[str, str]]:
    return [(one.local[5:], one.dst) for one in moments(Timetable(cron=cron, tz=tz), ms(after), number)]


def test_a_time_of_day_that_clocks_jump_over_comes_right_after() -> None:
    assert shown("30 2 * * *", "2026-03-28T12:00:00Z", 2) == [
        ("03-29T03:00:00+02:00", "gap"), ("03-30T02:30:00+02:00", ""),
    ]  # fmt: skip


def test_a_time_of_day_that_clocks_show_twice_comes_the_first_time() -> None:
    wanted = [("10-25T02:30:00+02:00", "first"), ("10-26T02:30:00+01:00", "")]
    assert shown("30 2 * * *", "2026-10-24T12:00:00Z", 2) == wanted
    # Also for who asks between the two, or in the second of the two hours.
    assert shown("30 2 * * *", "2026-10-25T00:30:00Z", 1) == wanted[1:]
    assert shown("30 2 * * *", "2026-10-25T01:10:00Z", 1) == wanted[1:]


def test_what_comes_often_goes_by_elapsed_time() -> None:
    assert shown("*/30 * * * *", "2026-10-24T23:45:00Z", 5) == [
        ("10-25T02:00:00+02:00", "both"), ("10-25T02:30:00+02:00", "both"),
        ("10-25T02:00:00+01:00", "both"), ("10-25T02:30:00+01:00", "both"), ("10-25T03:00:00+01:00", ""),
    ]  # fmt: skip
    assert shown("*/30 * * * *", "2026-03-29T00:15:00Z", 2) == [
        ("03-29T01:30:00+01:00", ""), ("03-29T03:00:00+02:00", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tz", "before", "days"),
    [
        ("America/Santiago", "2026-09-05T12:00:00Z", "* * sun"),
        ("Africa/Cairo", "2027-04-29T12:00:00Z", "* * 5L"),
        ("America/Havana", "2026-03-07T12:00:00Z", "* 3 sun"),
        ("America/Asuncion", "2023-09-30T12:00:00Z", "* 10 *"),  # the first of the month
    ],
)
def test_a_day_whose_midnight_clocks_jump_over_begins_after_the_jump(tz: str, before: str, days: str) -> None:
    def hours(cron: str) -> list[str]:
        return [local[6:11] for local, _ in shown(f"{cron} {days}", before, 3, tz)]

    assert hours("*/30 *") == ["01:00", "01:30", "02:00"]
    assert hours("0 */3") == ["03:00", "06:00", "09:00"]
    assert hours("*/20 0-1") == ["01:00", "01:20", "01:40"]
    # A time of day comes right after the jump, as any does.
    assert hours("30 0,2")[:2] == ["01:00", "02:30"]


def test_names_and_nicknames_are_understood() -> None:
    assert shown("0 9 * * MON-fri", "2026-11-27T08:00:00Z", 2, "UTC") == [
        ("11-27T09:00:00+00:00", ""), ("11-30T09:00:00+00:00", ""),
    ]  # fmt: skip
    assert shown("@Monthly", "2026-11-27T08:00:00Z", 1, "UTC") == [("12-01T00:00:00+00:00", "")]
    assert shown("0 0 L feb *", "2027-11-27T08:00:00Z", 1, "UTC") == [("02-29T00:00:00+00:00", "")]


OFTEN = [
    ("0 */3 * * *", range(1), range(0, 24, 3)),
    ("0 */2 * * *", range(1), range(0, 24, 2)),
    ("*/20 */2 * * *", range(0, 60, 20), range(0, 24, 2)),
    ("*/20 3 * * *", range(0, 60, 20), range(3, 4)),
    ("45 * * * *", range(45, 46), range(24)),
]


# When clocks are changed in 2026.
CHANGES = {
    "Australia/Lord_Howe": ("2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z"),  # by half an hour
    "Pacific/Chatham": ("2026-04-04T14:00:00Z", "2026-09-26T14:00:00Z"),  # at a quarter to an hour
    "Antarctica/Troll": ("2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"),  # by two hours
    "America/Santiago": ("2026-04-05T03:00:00Z", "2026-09-06T04:00:00Z"),  # at midnight
    "Europe/Paris": ("2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"),
}


@pytest.mark.parametrize(("tz", "changes"), CHANGES.items())
@pytest.mark.parametrize(("cron", "minutes", "hours"), OFTEN)
def test_what_comes_often_comes_whenever_the_clocks_show_it_also_where_they_change(
    tz: str, changes: tuple[str, str], cron: str, minutes: range, hours: range
) -> None:
    zone = zone_of(tz)
    calendar = Cron(cron, zone)
    for change in map(ms, changes):
        clocks = {at: at_clock(at, zone) for at in range(change - 30 * HOUR, change + 30 * HOUR + 1, 60_000)}
        assert at_clock(change - 1, zone).utcoffset() != at_clock(change, zone).utcoffset()
        wanted = [at for at, clock in clocks.items() if clock.minute in minutes and clock.hour in hours]
        found = wanted[:1]
        while found[-1] < wanted[-1]:
            found.append(calendar.next_after(found[-1]) or LAST_AT)
        assert found == wanted
        # Whoever asks at whatever time.
        for asked in range(change - 4 * HOUR, change + 4 * HOUR, 420_000):
            assert calendar.next_after(asked) == next(at for at in wanted if at > asked)


# Most of what is special is within two days of a change, which a time out of two years seldom is.
ZONES_AND_TIMES = st.one_of(
    st.tuples(
        st.sampled_from(("UTC", "America/New_York", *CHANGES)),
        st.integers(ms("2026-01-01T00:00:00Z"), ms("2027-12-31T00:00:00Z")),
    ),
    *(
        st.tuples(st.just(tz), st.integers(ms(change) - 48 * HOUR, ms(change) + 48 * HOUR))
        for tz, changes in CHANGES.items()
        for change in changes
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from((
        "30 2 * * *", "0 2,3 * * *", "*/20 * * * *", "15 */3 * * *", "*/30 0-1 * * sun", "59 23 * * sun", "0 0 1 * *",
    )),
    ZONES_AND_TIMES,
)  # fmt: skip
def test_times_only_ever_grow_and_are_the_same_whoever_asks_between(cron: str, zone_and_time: tuple[str, int]) -> None:
    tz, after = zone_and_time
    calendar = calendar_of(Timetable(cron=cron, tz=tz))
    first = calendar.next_after(after)
    assert first is not None
    assert first > after
    assert first % 1_000 == 0
    assert calendar.next_after(first - 1) == first
    assert calendar.passed(after, first) == 1
    assert calendar.passed(after, first - 1) == 0
    second = calendar.next_after(first)
    assert second is not None
    assert second > first
    between = (first + second) // 2
    assert calendar.next_after(between) == second


def test_a_year_of_minutes_is_not_counted_to_its_end() -> None:
    calendar = Cron("* * * * *", UTC)
    assert calendar.passed(ms("2026-01-01T00:00:00Z"), ms("2027-01-01T00:00:00Z")) == MOST_COUNTED


@pytest.mark.parametrize(
    ("cron", "message", "hint"),
    [
        ("0 9 * * sat-sun", "'sat-sun' is no day-of-week", "sat,sun"),
        ("61 * * * *", "'61' is no minute", "0 to 59"),
        ("0 0 30 2 *", "'30' is no day-of-month", "1 to 31"),
        ("0 0 */20 * 1L", "never comes", "correct"),
        ("* * * *", "has 4 fields, not 5", "'0 9 * * mon-fri'"),
        ("* * * * * *", "within a minute use --every", "minute"),
        ("", "has 0 fields", "minute"),
        ("@dayly", "did you mean '@daily'", "@hourly"),
        ("@reboot", "is none", "@hourly"),
        ("é * * * *", "is no minute", "0 to 59"),
        ("0 9 * * ²", "is no day-of-week", "mon-fri"),
        ("0 9 * * 5L/2", "is no day-of-week", "mon-fri"),
    ],
)
def test_what_is_no_cron_expression_is_told_by_its_field(cron: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        calendar_of(Timetable(cron=cron))
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789*/-,LW#? amonfri@", max_size=16))
def test_whatever_is_typed_is_taken_or_refused_in_words(text: str) -> None:
    try:
        calendar = calendar_of(Timetable(cron=text))
    except InvalidArgumentError:
        return
    assert calendar.next_after(0) is not None


@pytest.mark.parametrize(
    ("timetable", "message"),
    [
        (Timetable(), "one of them"),
        (Timetable(cron="@daily", every_ms=60_000), "one of them"),
        (Timetable(cron="@daily", offset_ms=1_000), "moves an interval"),
        (Timetable(every_ms=500), "whole seconds"),
        (Timetable(every_ms=1_500), "whole seconds"),
        (Timetable(every_ms=60_000, offset_ms=60_000), "shorter than its interval"),
    ],
)
def test_a_timetable_that_contradicts_itself_is_refused(timetable: Timetable, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        calendar_of(timetable)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Europe/Pari", "Europe/Paris"),
        ("paris", "Europe/Paris"),
        ("europe/paris", "Europe/Paris"),
        ("../etc/passwd", ""),
    ],
)
def test_a_time_zone_that_is_none_gets_the_nearest(name: str, near: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"no time zone '{name}'") as caught:
        zone_of(name)
    assert near in str(caught.value)


@pytest.mark.parametrize(
    "timetable",
    [
        Timetable(every_ms=36_500 * 86_400_000),
        Timetable(cron="0 0 29 2 */7"),
        Timetable(cron="0 9 1 1 *", tz="Pacific/Kiritimati"),
    ],
)
def test_no_time_comes_after_the_last_year_of_calendars(timetable: Timetable) -> None:
    found = moments(timetable, 0, 10_000)
    assert 70 < len(found) < 10_000
    assert found[-1].at <= LAST_AT
    for after in (found[-1].at, LAST_AT, 10**18):
        assert moments(timetable, after, 1) == []
        assert calendar_of(timetable).passed(after, LAST_AT) == 0
    assert moments(timetable, -(10**18), 1) == found[:1]
