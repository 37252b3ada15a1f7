"""The cache of installed packages: a convenience that never changes a result and is never shared."""

import io
import zipfile
from collections.abc import Iterator

import pytest

from tests.e2e.checks import assert_ended
from tests.e2e.conditions import eventually
from tests.e2e.conftest import running_installation
from tests.e2e.installation import Client, Installation
from tests.e2e.projects import RAW, ProjectMaker

VERSION_TEST = """
    import os
    from importlib.metadata import version

    def test_it():
        os.write(1, version("little").encode())
    """


def little_wheel(version: str) -> bytes:
    """A package that holds nothing but its version."""
    file = io.BytesIO()
    info = f"little-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: little\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return file.getvalue()


def has_installed(stderr: str) -> bool:
    """Whether the job whose stderr this is has filled an environment."""
    return " + pytest==" in stderr


@pytest.fixture
def user(installation: Installation) -> Client:
    """Somebody without any environment."""
    return installation.new_client("eve")


def test_the_second_run_installs_nothing(user: Client, project: ProjectMaker) -> None:
    made = project.test("def test_it(): pass\n")
    first = user.submit(made, *RAW)
    assert_ended(user, first, 0, b"")
    assert has_installed(first.stderr)
    second = user.submit(made, *RAW)
    assert_ended(user, second, 0, b"")
    assert not has_installed(second.stderr)
    other_project = user.submit(project.test("def test_other(): assert False\n"), *RAW)
    assert_ended(user, other_project, 1, b"")
    assert not has_installed(other_project.stderr)


def test_fresh_installs_anew_for_all_that_follow(user: Client, project: ProjectMaker) -> None:
    made = project.test("def test_it(): pass\n")
    for flags, installs in (((), True), (("--fresh",), True), ((), False)):
        done = user.submit(made, *RAW, flags=flags)
        assert done.exit_code == 0
        assert has_installed(done.stderr) is installs


def test_users_never_share(installation: Installation, user: Client, project: ProjectMaker) -> None:
    made = project.test("def test_it(): pass\n")
    assert has_installed(user.submit(made, *RAW).stderr)
    assert has_installed(installation.new_client("mallory").submit(made, *RAW).stderr)


def test_a_local_file_that_changes_is_installed_anew(user: Client, project: ProjectMaker) -> None:
    name = "libs/little-1-py3-none-any.whl"
    requirements = f"pytest\n./{name}\n"
    made = project({"tests/test_it.py": VERSION_TEST, name: little_wheel("1")}, requirements=requirements)
    for installs in (True, False):
        done = user.submit(made, *RAW)
        assert_ended(user, done, 0, b"1")
        assert has_installed(done.stderr) is installs
    (made / name).write_bytes(little_wheel("1").replace(b"METADATA", b"METADATA"[::-1]))
    assert user.submit(made, *RAW).exit_code == 65
    renamed = "libs/little-2-py3-none-any.whl"
    (made / renamed).write_bytes(little_wheel("2"))
    (made / "requirements.txt").write_text(f"pytest\n./{renamed}\n")
    assert_ended(user, user.submit(made, *RAW), 0, b"2")


def test_a_failed_installation_is_not_kept(user: Client, project: ProjectMaker) -> None:
    made = project.test("def test_it(): pass\n", requirements="pytest\nno-such-package-at-all\n")
    for _ in range(2):
        done = user.submit(made, *RAW)
        assert done.exit_code == 65
        assert "no-such-package-at-all" in done.stderr


def test_tests_can_not_write_to_what_is_kept(user: Client, project: ProjectMaker) -> None:
    made = project.test(
        """
        import os, pathlib, pytest, sys

        def test_it():
            package = pathlib.Path(pytest.__file__)
            for act in (
                lambda: package.write_text("raise SystemExit"),
                lambda: package.unlink(),
                lambda: package.chmod(0o777),
                lambda: (pathlib.Path(sys.prefix) / "new").write_text(""),
            ):
                with pytest.raises(OSError):
                    act()
        """
    )
    for _ in range(2):
        assert_ended(user, user.submit(made, *RAW), 0, b"")


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation in which environments expire at once."""
    folder = tmp_path_factory.mktemp("forgetful")
    with running_installation(folder, CI_ENV_MAX_AGE_SECONDS="0.001", CI_WARM_CONTAINERS="0") as made:
        yield made


def test_environments_expire(forgetful: Installation, project: ProjectMaker) -> None:
    client = forgetful.new_client("olga")
    made = project.test("def test_it(): pass\n")
    for _ in range(2):
        done = client.submit(made, *RAW)
        assert_ended(client, done, 0, b"")
        assert has_installed(done.stderr)


def test_a_volume_that_somebody_deleted_is_a_miss(forgetful: Installation, project: ProjectMaker) -> None:
    forgetful.restart_controller(CI_ENV_MAX_AGE_SECONDS="86400")
    client = forgetful.new_client("vera")
    made = project.test("def test_it(): pass\n")
    assert has_installed(client.submit(made, *RAW).stderr)
    assert not has_installed(client.submit(made, *RAW).stderr)
    eventually(forgetful.has_no_containers, "the last container to go")
    for volume in forgetful.engine.volumes():
        forgetful.engine.remove_volume(volume)
    done = client.submit(made, *RAW)
    assert_ended(client, done, 0, b"")
    assert has_installed(done.stderr)


STATIC = """
    [project]
    name = "little"
    version = "1.5"
    dependencies = ["iniconfig"]
    [project.optional-dependencies]
    test = ["pytest"]
    [project.scripts]
    little = "little:main"
    [project.entry-points.pytest11]
    little-plugin = "little.plugin"
    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"
    """
SETUP = """
    from setuptools import setup

    setup(
        name="little",
        version="1.5",
        package_dir={"": "src"},
        packages=["little"],
        install_requires=["iniconfig"],
        extras_require={"test": ["pytest"]},
        entry_points={
            "console_scripts": ["little=little:main"],
            "pytest11": ["little-plugin=little.plugin"],
        },
    )
    """
SOURCES: dict[str, str | bytes] = {
    "src/little/__init__.py": 'def main():\n    print("from the command", flush=True)\n',
    "src/little/plugin.py": """
        import pytest

        @pytest.fixture
        def greeting():
            return "from the plugin"
        """,
    "tests/test_it.py": """
        import os, subprocess
        from importlib.metadata import version
        import iniconfig, little

        def test_it(greeting):
            os.write(1, f"{version('little')} {greeting}\\n".encode())
            subprocess.run(["little"], check=True)
        """,
}
SAID = b"1.5 from the plugin\nfrom the command\n"


@pytest.mark.parametrize("line", [".[test]", "-e .[test]"])
def test_of_the_project_only_its_dependencies_are_kept(
    user: Client, project: ProjectMaker, line: str
) -> None:
    made = project({**SOURCES, "pyproject.toml": STATIC}, requirements=f"{line}\n")
    for installs in (True, False):
        done = user.submit(made, *RAW)
        assert_ended(user, done, 0, SAID)
        assert has_installed(done.stderr) is installs
    (made / "src/little/__init__.py").write_text("def main():\n    print('changed', flush=True)\n")
    changed = user.submit(made, *RAW)
    assert_ended(user, changed, 0, b"1.5 from the plugin\nchanged\n")
    assert not has_installed(changed.stderr)


@pytest.mark.parametrize("line", [".[test]", "-e .[test]"])
def test_what_only_a_projects_code_knows_is_installed_in_each_job(
    user: Client, project: ProjectMaker, line: str
) -> None:
    made = project({**SOURCES, "setup.py": SETUP}, requirements="-r dev.txt\n")
    (made / "dev.txt").write_text(f"{line}\n")
    for _ in range(2):
        done = user.submit(made, *RAW)
        assert_ended(user, done, 0, SAID)
        assert has_installed(done.stderr)
