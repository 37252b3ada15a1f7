"""`ci-admin key …` as a process on a real database."""

import re
import uuid

import pytest

from ci_common.api_keys import digest_of, is_well_formed
from tests.integration.admin.admin_command import AdminCommand


def test_create_prints_the_key_this_once(admin: AdminCommand) -> None:
    user_id = admin.create_user()
    printed = admin.out("key", "create", "--name", "laptop", "--user-id", user_id)
    key = re.search(r"^API Key: (ci_\S+)$", printed, re.MULTILINE)
    assert key is not None
    assert is_well_formed(key[1])
    assert "only time" in printed
    everything = admin.db_path.read_bytes() + admin.out("key", "list").encode()
    everything += admin.out("key", "list", "--json").encode()
    assert key[1].encode() not in everything
    listed = admin.out("key", "list") + admin.out("key", "list", "--json")
    assert digest_of(key[1]).hex() not in listed
    assert key[1].removeprefix("ci_")[:8] in listed


def test_list_shows_everybodys_keys_or_one_users(admin: AdminCommand) -> None:
    admin.create_user("ada@example.com")
    admin.create_user("grace@example.com")
    admin.create_key("ada@example.com", "laptop")
    admin.create_key("grace@example.com", "nightly")
    assert [each["user_email"] for each in admin.objects("key", "list")] == [
        "ada@example.com",
        "grace@example.com",
    ]
    (one,) = admin.objects("key", "list", "--email", "grace@example.com")
    assert one["name"] == "nightly"
    assert {"id", "name", "user_id", "is_active", "created_at", "last_used_at", "prefix", "state"} <= set(one)
    assert not any("hash" in name or "digest" in name for name in one)
    assert not str(one["prefix"]).startswith("ci_")
    table = admin.out("key", "list")
    assert "ada@example.com" in table
    assert str(one["prefix"]) in table


def test_a_revoked_key_says_so_and_revoking_twice_is_no_error(admin: AdminCommand) -> None:
    admin.create_user()
    admin.create_key()
    (made,) = admin.objects("key", "list")
    for _ in range(2):
        assert "revoked" in admin.out("key", "revoke", str(made["id"]))
    (listed,) = admin.objects("key", "list")
    assert (listed["is_active"], listed["state"]) == (False, "revoked")
    assert "revoked" in admin.out("key", "list")


def test_a_key_may_expire(admin: AdminCommand) -> None:
    admin.create_user()
    admin.out("key", "create", "--name", "a", "--email", "ada@example.com", "--expires-in-days", "30")
    (made,) = admin.objects("key", "list")
    assert made["state"] == "active"
    assert str(made["expires_at"]) > str(made["created_at"])


def test_a_deactivated_owner_shows_in_the_state(admin: AdminCommand) -> None:
    admin.create_user()
    admin.create_key()
    admin.out("user", "deactivate", "--email", "ada@example.com")
    (listed,) = admin.objects("key", "list")
    assert listed["state"] == "user deactivated"


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["create", "--name", "a"], 2),
        (["create", "--name", "", "--email", "a@example.com"], 2),
        (["create", "--name", "a", "--email", "a@example.com", "--user-id", str(uuid.uuid4())], 2),
        (["create", "--name", "a", "--email", "a@example.com", "--expires-in-days", "0"], 2),
        (["create", "--name", "a", "--email", "nobody@example.com"], 1),
        (["create", "--name", "a", "--user-id", str(uuid.uuid4())], 1),
        (["create", "--name", "a", "--user-id", "x"], 1),
        (["list", "--email", "nobody@example.com"], 1),
        (["revoke"], 2),
        (["revoke", "x"], 1),
        (["revoke", str(uuid.uuid4())], 1),
    ],
)
def test_errors(admin: AdminCommand, arguments: list[str], exit_code: int) -> None:
    done = admin.run("key", *arguments)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert "Error: " in done.stderr
