import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ci_client.interrupts import Stopped, Task, Waiter
from ci_client.uploading import SendingState


def test_a_task_gives_its_result_or_its_error() -> None:
    assert Task(lambda: 5).result() == 5
    failing = Task(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        failing.result()
    assert (failing.ended, failing.failed) == (True, True)


def test_waiting_ends_with_the_task() -> None:
    waiter = Waiter()
    go_on = threading.Event()
    task = Task(go_on.wait, waiter)
    assert not waiter.wait(lambda: task.ended, timeout_seconds=0.01)
    go_on.set()
    assert waiter.wait(lambda: task.ended)
    assert waiter.wait(lambda: True, timeout_seconds=0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_wakes_whoever_waits(number: signal.Signals, code: int) -> None:
    waiter = Waiter()
    before = signal.getsignal(number)
    with waiter.listening():
        threading.Thread(target=os.kill, args=[os.getpid(), number]).start()
        assert waiter.wait(lambda: waiter.signal is not None, timeout_seconds=30)
    assert waiter.exit_code == code
    assert signal.getsignal(number) is before


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Waiter().listening():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_second_signal_leaves_whatever_goes_on() -> None:
    program = """
import os, signal, time
from ci_client.interrupts import Waiter
waiter = Waiter()
with waiter.listening():
    os.kill(os.getpid(), signal.SIGINT)
    assert waiter.signal == signal.SIGINT
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 143


def test_whoever_stops_a_sender_knows_whether_a_job_can_exist() -> None:
    """However the two meet, the last bytes go only if the other side was told so."""
    for _ in range(200):
        state = SendingState()
        sent: list[bool] = []

        def send(state: SendingState = state, sent: list[bool] = sent) -> None:
            try:
                state.release_end()
            except Stopped:
                return
            sent.append(True)

        thread = threading.Thread(target=send)
        thread.start()
        may_exist = state.stop()
        thread.join()
        assert may_exist == bool(sent)
        with pytest.raises(Stopped):
            state.check()


def test_a_refusal_tells_of_its_own_try_alone() -> None:
    """An earlier try whose connection broke may still become a job."""
    state = SendingState()
    state.release_end()
    state.refused()
    assert not state.may_exist
    state.release_end()  # unanswered
    state.release_end()
    state.refused()
    assert state.may_exist
    assert state.stop()


def test_time_that_has_passed_is_enough() -> None:
    began = time.monotonic()
    assert not Waiter().wait(lambda: False, timeout_seconds=0.05)
    assert time.monotonic() - began >= 0.05
