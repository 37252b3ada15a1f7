"""`ci-admin backup` as a process: the copy is a database that works."""

from tests.integration.admin.admin_command import AdminCommand


def test_the_copy_holds_what_the_database_held(admin: AdminCommand) -> None:
    user_id = admin.create_user()
    admin.create_key()
    target = admin.data_dir / "backup.db"
    assert str(target) in admin.out("backup", str(target))
    assert [each["id"] for each in admin.objects("user", "list", "--db-path", str(target))] == [user_id]
    assert admin.objects("key", "list", "--db-path", str(target)) == admin.objects("key", "list")


def test_what_exists_is_never_replaced(admin: AdminCommand) -> None:
    admin.create_user()
    target = admin.data_dir / "backup.db"
    target.write_text("precious")
    done = admin.run("backup", str(target))
    assert done.exit_code == 1
    assert str(target) in done.stderr
    assert target.read_text() == "precious"


def test_no_database_no_backup(admin: AdminCommand) -> None:
    target = admin.data_dir / "backup.db"
    done = admin.run("backup", str(target))
    assert done.exit_code == 1
    assert not target.exists()
    assert not admin.db_path.exists()


def test_a_folder_that_is_not_there_is_named(admin: AdminCommand) -> None:
    admin.create_user()
    done = admin.run("backup", str(admin.data_dir / "nowhere" / "backup.db"))
    assert done.exit_code == 1
    assert "nowhere" in done.stderr
