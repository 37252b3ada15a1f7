"""The rules that the contract suite can't reach, since no caller may break them."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.event_data import log_data
from ci_common.ids import ContainerId, Fence, VolumeName, new_job_id, new_key_id, new_user_id
from ci_common.models import Job, LogPosition, Outcome, Phase, Run, Stage, Submission, SubmitOptions, Verdict
from ci_persistence import transitions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
C1 = ContainerId("c1")


def _running(stage: Stage = Stage.TEST, offset_bytes: int = 0) -> Job:
    submission = Submission(new_job_id(), new_user_id(), new_key_id(), SubmitOptions(), 1, NOW)
    run = Run(stage, C1, Fence(1), None, LogPosition(offset_bytes))
    change = transitions.bind(transitions.queued(submission), run, NOW)
    assert change is not None
    return change.job


def test_a_log_is_read_forwards() -> None:
    with pytest.raises(AssertionError):
        transitions.append(
            _running(offset_bytes=5), C1, [], LogPosition(4), fed=False, verdict=None, installed=None, now=NOW
        )


def test_only_stage_install_makes_environments() -> None:
    with pytest.raises(AssertionError):
        transitions.append(
            _running(), C1, [], LogPosition(), fed=False, verdict=None, installed=VolumeName("v"), now=NOW
        )


def test_what_is_installed_is_not_tested_yet() -> None:
    with pytest.raises(AssertionError):
        transitions.append(
            _running(Stage.INSTALL),
            C1,
            [],
            LogPosition(),
            fed=False,
            verdict=Verdict(Outcome.PASSED, 0),
            installed=VolumeName("v"),
            now=NOW,
        )


@given(st.text())
def test_any_text_becomes_one_line_of_ascii(text: str) -> None:
    change = transitions.add_events(_running(), [log_data(Phase.TEST, text)])
    (event,) = change.events
    assert event.json.isascii()
    assert "\n" not in event.json
    assert json.loads(event.json)["data"] == text


def test_nothing_to_tell_changes_nothing() -> None:
    job = _running()
    assert transitions.add_events(job, []) == transitions.Change(job)
    assert transitions.set_waiting(job, "news") == transitions.Change(job)
    assert transitions.set_waiting(replace(job, waiting=None), None).events == ()
