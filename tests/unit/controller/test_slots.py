"""Places: never two jobs on one number at the same time."""

from hypothesis import given
from hypothesis import strategies as st

from ci_common.ids import JobId
from ci_controller.slots import Slots, uid_of

steps = st.lists(
    st.tuples(st.sampled_from(["take", "adopt", "give_back"]), st.integers(0, 6), st.integers(0, 3))
)


@given(steps)
def test_no_two_jobs_share_a_place(moves: list[tuple[str, int, int]]) -> None:
    slots = Slots(3)
    held: set[JobId] = set()
    for move, number, wanted in moves:
        job_id = JobId(str(number))
        if move == "take":
            had, free = job_id in held, slots.free
            assert slots.take(job_id) == (had or free > 0)
        elif move == "adopt":
            slots.adopt(job_id, wanted)
        else:
            slots.give_back(job_id)
        held = {JobId(str(n)) for n in range(7) if slots.of(JobId(str(n))) is not None}
        numbers = [slots.of(job) for job in held]
        assert len(set(numbers)) == len(held)
        assert slots.free == max(0, 3 - len(held))


def test_processes_of_a_job_are_never_root() -> None:
    assert uid_of(0) > 1000
