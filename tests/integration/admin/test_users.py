"""`ci-admin user …` as a process on a real database."""

import uuid

import pytest

from tests.integration.admin.admin_command import AdminCommand


def test_create_says_so_and_prints_the_id(admin: AdminCommand) -> None:
    done = admin.run("user", "create", "--name", "Ada Lovelace", "--email", "ada@example.com")
    first, second = done.stdout.splitlines()
    assert done.exit_code == 0
    assert first == "User created successfully"
    assert second == f"User ID: {uuid.UUID(second.split()[-1])}"
    (found,) = admin.objects("user", "list")
    assert {key: value for key, value in found.items() if key != "created_at"} == {
        "id": second.split()[-1],
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "is_active": True,
    }
    assert list(found) == ["id", "name", "email", "is_active", "created_at"]


def test_the_first_command_says_which_database_it_made_and_the_next_does_not(admin: AdminCommand) -> None:
    assert admin.run("user", "list").stderr == f"Created the database {admin.db_path}\n"
    assert admin.run("user", "list").stderr == ""


def test_an_empty_file_becomes_a_database(admin: AdminCommand) -> None:
    admin.data_dir.mkdir()
    empty = admin.data_dir / "other.db"
    empty.touch()
    done = admin.run("user", "create", "--name", "A", "--email", "a@example.com", "--db-path", str(empty))
    assert (done.exit_code, done.stderr) == (0, f"Created the database {empty}\n")
    assert not admin.db_path.exists()


def test_the_database_may_be_named_before_and_after_the_command(admin: AdminCommand) -> None:
    path = str(admin.data_dir / "named.db")
    admin.out("--db-path", path, "user", "create", "--name", "A", "--email", "a@example.com")
    assert len(admin.objects("user", "--db-path", path, "list")) == 1
    assert len(admin.objects("user", "list", "--db-path", path)) == 1


def test_a_foreign_file_is_refused_untouched(admin: AdminCommand) -> None:
    admin.data_dir.mkdir()
    admin.db_path.write_bytes(b"not a database at all" * 100)
    done = admin.run("user", "list")
    assert done.exit_code == 1
    assert str(admin.db_path) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert admin.db_path.read_bytes() == b"not a database at all" * 100


def test_an_email_is_taken_once_whatever_its_case(admin: AdminCommand) -> None:
    admin.create_user("ada@example.com")
    done = admin.run("user", "create", "--name", "Other", "--email", "ADA@Example.com")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "already exists" in done.stderr
    assert len(admin.objects("user", "list")) == 1


@pytest.mark.parametrize("email", ["", "ada", "@example.com", "ada@", "a b@example.com", "a@b\nc"])
def test_what_is_no_email_is_bad_use(admin: AdminCommand, email: str) -> None:
    assert admin.run("user", "create", "--name", "A", "--email", email).exit_code == 2
    assert not admin.db_path.exists()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[2Jb"])
def test_a_name_is_one_printable_line(admin: AdminCommand, name: str) -> None:
    assert admin.run("user", "create", "--name", name, "--email", "a@example.com").exit_code == 2


def test_a_user_is_named_by_id_or_by_email(admin: AdminCommand) -> None:
    user_id = admin.create_user()
    by_id = admin.object("user", "get", user_id)
    assert by_id == admin.object("user", "get", "--email", "Ada@example.com")
    assert by_id["id"] == user_id
    assert user_id in admin.out("user", "get", user_id)


@pytest.mark.parametrize("command", ["get", "activate", "deactivate"])
def test_an_unknown_user_is_an_own_error(admin: AdminCommand, command: str) -> None:
    for named in (["--email", "no@example.com"], [str(uuid.uuid4())], ["not-a-uuid"]):
        done = admin.run("user", command, *named)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("command", ["get", "activate", "deactivate"])
def test_naming_nobody_or_twice_is_bad_use(admin: AdminCommand, command: str) -> None:
    assert admin.run("user", command).exit_code == 2
    assert admin.run("user", command, str(uuid.uuid4()), "--email", "a@example.com").exit_code == 2


def test_deactivate_and_activate(admin: AdminCommand) -> None:
    user_id = admin.create_user()
    assert "deactivated" in admin.out("user", "deactivate", "--email", "ada@example.com")
    assert admin.object("user", "get", user_id)["is_active"] is False
    assert "deactivated" in admin.out("user", "list")
    admin.out("user", "activate", user_id)
    assert admin.object("user", "get", user_id)["is_active"] is True


def test_a_table_in_a_pipe_is_not_cut(admin: AdminCommand) -> None:
    long_name = "n" * 300
    user_id = admin.create_user(name=long_name)
    header, row = admin.out("user", "list").splitlines()
    assert header.split() == ["USER", "ID", "E-MAIL", "STATE", "CREATED", "NAME"]
    assert row.startswith(user_id)
    assert row.endswith(long_name)


def test_a_terminal_that_cannot_show_a_name_still_gets_the_list(admin: AdminCommand) -> None:
    user_id = admin.create_user(name="日本")
    done = admin.run("user", "list", PYTHONIOENCODING="latin-1")
    assert done.exit_code == 0
    assert user_id in done.stdout


def test_unknown_commands_are_bad_use(admin: AdminCommand) -> None:
    assert admin.run("user", "frobnicate").exit_code == 2
    assert admin.run("frobnicate").exit_code == 2
