"""Places and numbers: never two containers on one number at the same time."""

from hypothesis import given
from hypothesis import strategies as st

from ci_common.ids import JobId
from ci_controller.slots import Slots, uid_of

steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "adopt", "give_back", "reserve", "release", "hand_over"]),
        st.integers(0, 6),
        st.integers(0, 3),
    )
)


@given(steps)
def test_no_two_share_a_number(moves: list[tuple[str, int, int]]) -> None:
    slots = Slots(3)
    held: set[JobId] = set()
    reserved: list[int] = []
    for move, number, wanted in moves:
        job_id = JobId(str(number))
        match move:
            case "take":
                had, free = job_id in held, slots.free
                assert slots.take(job_id) == (had or free > 0)
            case "adopt":
                slots.adopt(job_id, wanted)
            case "give_back":
                slots.give_back(job_id)
            case "reserve":
                reserved.append(slots.reserve())
            case "release" if reserved:
                slots.release(reserved.pop())
            case "hand_over" if reserved and job_id in held:
                given_number = reserved.pop()
                slots.hand_over(given_number, job_id)
                assert slots.of(job_id) == given_number
            case _:
                pass
        held = {JobId(str(n)) for n in range(7) if slots.of(JobId(str(n))) is not None}
        numbers = [*(slots.of(job) for job in held), *reserved]
        assert len(set(numbers)) == len(numbers)
        assert slots.free == max(0, 3 - len(held))


def test_processes_of_a_job_are_never_root() -> None:
    assert uid_of(0) > 1000
