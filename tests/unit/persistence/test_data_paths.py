from pathlib import Path

from ci_persistence.data_paths import resolve, wake_dir_of


def test_default_is_below_the_home_directory() -> None:
    paths = resolve(environ={})
    assert paths.data_dir == Path.home() / ".ci/data"
    assert paths.db_path == Path.home() / ".ci/data/ci.db"


def test_data_dir_holds_the_database(tmp_path: Path) -> None:
    paths = resolve(environ={"CI_DATA_DIR": str(tmp_path)})
    assert (paths.data_dir, paths.db_path) == (tmp_path, tmp_path / "ci.db")


def test_folder_of_the_database_is_the_data_dir(tmp_path: Path) -> None:
    paths = resolve(environ={"CI_DB_PATH": str(tmp_path / "a.db")})
    assert (paths.data_dir, paths.db_path) == (tmp_path, tmp_path / "a.db")


def test_both_may_be_named(tmp_path: Path) -> None:
    environ = {"CI_DB_PATH": str(tmp_path / "a.db"), "CI_DATA_DIR": str(tmp_path / "data")}
    paths = resolve(environ=environ)
    assert (paths.data_dir, paths.db_path) == (tmp_path / "data", tmp_path / "a.db")


def test_flag_wins_over_environment(tmp_path: Path) -> None:
    paths = resolve(str(tmp_path / "flag.db"), {"CI_DB_PATH": str(tmp_path / "a.db")})
    assert paths.db_path == tmp_path / "flag.db"


def test_empty_variables_count_as_unset(tmp_path: Path) -> None:
    paths = resolve(environ={"CI_DB_PATH": "", "CI_DATA_DIR": str(tmp_path)})
    assert paths.db_path == tmp_path / "ci.db"


def test_relative_paths_are_made_absolute() -> None:
    assert resolve("here.db", {}).db_path == Path.cwd() / "here.db"


def test_two_databases_in_one_folder_have_their_own_wake_dirs(tmp_path: Path) -> None:
    first, second = wake_dir_of(tmp_path / "a.db"), wake_dir_of(tmp_path / "b.db")
    assert first.parent == second.parent == tmp_path
    assert first != second


def test_wake_dir_is_the_same_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert wake_dir_of(tmp_path / "link/a.db") == wake_dir_of(tmp_path / "real/a.db")
