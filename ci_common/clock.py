"""Wall-clock time in one form: aware UTC datetimes, ISO 8601 in text.

Only for what people read and for expiry measured in hours; durations that decide anything are taken
from a monotonic clock, since wall clocks jump.
"""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def to_iso(moment: datetime) -> str:
    """`moment` as ISO 8601 with microseconds and `+00:00`, so that texts sort as times do."""
    assert moment.tzinfo is not None, "naive datetimes have no place here"
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def from_iso(text: str) -> datetime:
    """The inverse of `to_iso`.

    Raises:
        ValueError: `text` is not ISO 8601 or bears no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} bears no UTC offset")
    return moment.astimezone(UTC)
