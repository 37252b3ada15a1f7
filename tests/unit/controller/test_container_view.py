from datetime import UTC, datetime

import pytest

from ci_common.ids import Fence, InstanceId, JobId
from ci_controller import engine_json
from ci_controller.container_request import ContainerRequest, JobLimits, labels_of
from ci_controller.container_view import (
    ContainerStatus,
    Role,
    from_inspection,
    from_listing,
)

INSTANCE = InstanceId("11111111-2222-3333-4444-555555555555")
JOB = JobId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
LABELS = labels_of(
    ContainerRequest(
        name="ci-job",
        image="image",
        role=Role.INSTALL,
        job_id=JOB,
        fence=Fence(7),
        attempt=2,
        slot=3,
        limits=JobLimits(memory_bytes=1 << 30, cpus=1.5, pids=100),
        network="none",
        environment=None,
        frames_version=4,
    ),
    INSTANCE,
)


def inspection(state: dict[str, object], labels: dict[str, str] | None) -> dict[str, object]:
    return {
        "Id": "abc",
        "Name": "/ci-job",
        "Created": "2026-11-25T12:37:39.789288123Z",
        "State": state,
        "Config": {"Labels": labels},
    }


def test_labels_come_back_as_they_were_written() -> None:
    view = from_inspection(inspection({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, LABELS))
    assert (view.id, view.name, view.role, view.job_id) == ("abc", "ci-job", Role.INSTALL, JOB)
    assert (view.fence, view.attempt, view.slot, view.frames_version) == (7, 2, 3, 4)
    assert (view.status, view.exit_code, view.oom_killed) == (ContainerStatus.EXITED, 137, True)
    assert view.created_at == datetime(2026, 11, 25, 12, 37, 39, 789288, UTC)


@pytest.mark.parametrize("status", ["created", "running", "paused"])
def test_what_has_not_ended_has_no_exit_code(status: str) -> None:
    assert from_inspection(inspection({"Status": status, "ExitCode": 0}, LABELS)).exit_code is None


def test_a_container_that_could_not_be_started_says_why() -> None:
    view = from_inspection(inspection({"Status": "created", "ExitCode": 127, "Error": "no python3"}, LABELS))
    assert (view.status, view.error) == (ContainerStatus.CREATED, "no python3")


def test_a_listing_tells_the_same_but_no_exit_code() -> None:
    entry: dict[str, object] = {
        "Id": "abc",
        "Names": ["/ci-job"],
        "Created": 1_700_000_000,
        "State": "exited",
        "Labels": LABELS,
    }
    view = from_listing(entry)
    assert (view.name, view.role, view.job_id, view.fence) == ("ci-job", Role.INSTALL, JOB, 7)
    assert (view.status, view.exit_code) == (ContainerStatus.EXITED, None)
    assert view.created_at == datetime.fromtimestamp(1_700_000_000, UTC)


@pytest.mark.parametrize(
    "labels",
    [
        None,
        {},
        {"ci.role": "from the future", "ci.job": "not a uuid", "ci.fence": "-1", "ci.slot": "9" * 40},
    ],
)
def test_senseless_labels_become_neutral_values(labels: dict[str, str] | None) -> None:
    view = from_inspection(inspection({"Status": "never heard of"}, labels))
    assert (view.role, view.job_id, view.status) == (Role.UNKNOWN, None, ContainerStatus.UNKNOWN)
    assert (view.fence, view.attempt, view.slot, view.frames_version) == (0, 0, 0, 0)


def test_an_empty_listing_entry_is_no_error() -> None:
    view = from_listing({"Names": None, "Labels": None})
    assert (view.id, view.name, view.role) == ("", "", Role.UNKNOWN)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-25T12:00:00Z", datetime(2026, 11, 25, 12, tzinfo=UTC)),
        ("2026-11-25T12:00:00.5Z", datetime(2026, 11, 25, 12, 0, 0, 500_000, UTC)),
        ("2026-11-25T13:00:00.123456789+01:00", datetime(2026, 11, 25, 12, 0, 0, 123_456, UTC)),
        ("", engine_json.EPOCH),
        ("yesterday.", engine_json.EPOCH),
    ],
)
def test_times_are_read_with_nanoseconds_and_offsets(written: str, meant: datetime) -> None:
    assert engine_json.moment({"at": written}, "at") == meant
