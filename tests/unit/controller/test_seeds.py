"""What is fetched for the next installation."""

import pytest

from ci_common.clock import utc_now
from ci_common.ids import UserId
from ci_controller.seeds import seed_of
from tests.unit.controller.test_environments import WHEEL, requirements_of

ALICE = UserId("a")


def test_what_was_installed_is_fetched_for_its_owner() -> None:
    requirements, now = requirements_of("pytest\n"), utc_now()
    seed = seed_of(ALICE, requirements, now)
    assert seed is not None
    assert (seed.owner, seed.requirements, seed.installed_at) == (ALICE, requirements, now)


@pytest.mark.parametrize(
    "text", [f"./{WHEEL}\npytest\n", "--no-binary attrs\npytest\n", "--no-binary :all:\npytest\n"]
)
def test_nothing_is_fetched_where_files_of_the_project_are_needed_or_something_is_built(text: str) -> None:
    assert seed_of(ALICE, requirements_of(text, **{WHEEL: "x"}), utc_now()) is None
