import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ci_common.errors import InvalidInput
from ci_common.models import Phase
from ci_controller.installer import Installer, InstallerSettings
from ci_controller.package_sources import PackageSources, parse_pip_conf
from ci_controller.requirements import read_requirements
from tests.unit.controller.project_files import bundle_of

SECRET_CONF = """
[global]
index-url = https://user:secret@pkgs.example.com/simple
extra_index_url =
    https://a.example.com/simple
    https://b.example.com/simple
trusted-host = a.example.com
timeout = 7.5
[install]
find-links = https://links.example.com/ /opt/wheels
no-binary = foo,bar
pre = yes
[list]
format = columns
"""


def installer(
    requirements: str, conf: str | None = None, files: dict[str, str | bytes] | None = None
) -> Installer:
    settings = InstallerSettings.from_texts(conf, None)
    bundle = bundle_of({"requirements.txt": requirements, **(files or {})})
    return Installer(settings, read_requirements(bundle, settings.sources), "/v", "/v/.build")


def requirement_lines(given: Installer) -> list[str]:
    return given.package_files(stubs=True)["requirements.txt"].splitlines()


def test_pip_conf_reaches_uv_without_secrets_in_arguments() -> None:
    given = installer("pytest\n", SECRET_CONF)
    assert requirement_lines(given) == [
        "--index-url https://user:secret@pkgs.example.com/simple",
        "--extra-index-url https://a.example.com/simple",
        "--extra-index-url https://b.example.com/simple",
        "--find-links https://links.example.com/",
        "--find-links /opt/wheels",
        "--no-binary foo",
        "--no-binary bar",
        "pytest",
    ]
    step = given.install_packages(compile_bytecode=True)
    assert "secret" not in repr(step)
    assert step.argv[-4:-2] == ("--prerelease", "allow")
    assert step.argv[-2:] == ("--allow-insecure-host", "a.example.com")
    assert step.environment["UV_HTTP_TIMEOUT"] == "8"
    assert step.phase is Phase.INSTALL


def test_the_settings_never_show_their_secrets() -> None:
    assert "secret" not in repr(InstallerSettings.from_texts("[global]\nproxy = http://u:secret@x\n", None))


def test_uv_obeys_no_configuration_of_the_project_and_searches_as_pip_does() -> None:
    step = installer("pytest\n").install_packages(compile_bytecode=False)
    assert step.argv[:5] == ("uv", "pip", "install", "--no-config", "--no-sources")
    assert "--compile-bytecode" not in step.argv
    assert step.environment["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert step.environment["UV_PYTHON_DOWNLOADS"] == "never"


@pytest.mark.parametrize(
    ("text", "urls", "no_index"),
    [
        ("", ("https://conf",), False),
        ("-i https://a\n", ("https://a",), False),
        ("--extra-index-url https://b\n", ("https://conf", "https://b"), False),
        ("--extra-index-url https://b\n-i https://a\n", ("https://a",), False),
        ("-i https://a\n--extra-index-url https://b\n", ("https://a", "https://b"), False),
        ("--no-index\n-i https://a\n", (), True),
        ("-i https://a --extra-index-url https://b\n", ("https://a", "https://b"), False),
    ],
)
def test_index_options_of_a_file_count_as_in_pip(text: str, urls: tuple[str, ...], no_index: bool) -> None:
    sources = read_requirements(
        bundle_of({"requirements.txt": text or "#\n"}), parse_pip_conf("[global]\nindex-url=https://conf\n")
    ).sources
    assert (sources.index_urls, sources.no_index) == (urls, no_index)


def test_the_default_index_stays_the_main_one_beside_an_extra_one() -> None:
    lines = requirement_lines(installer("--extra-index-url https://b\n"))
    assert lines[0] == "--extra-index-url https://b"
    assert not any(line.startswith("--index-url") for line in lines)


@pytest.mark.parametrize(
    "text",
    ["--require-hashes\npytest\n", "pytest==9 --hash=sha256:aa\n"],
)
def test_one_hash_demands_hashes_for_all(text: str) -> None:
    assert "--require-hashes" in installer(text).install_packages(compile_bytecode=True).argv


def test_prereleases_and_trusted_hosts_of_a_file() -> None:
    argv = installer("--pre\n--trusted-host x\npytest\n").install_packages(compile_bytecode=True).argv
    assert argv[-4:] == ("--prerelease", "allow", "--allow-insecure-host", "x")


def test_names_after_commas_are_names() -> None:
    lines = requirement_lines(installer("--no-binary a,b --only-binary=:all:\npytest\n"))
    assert lines == ["--no-binary a", "--no-binary b", "--only-binary :all:", "pytest"]


def test_constraints_are_a_file_of_their_own() -> None:
    given = installer("-c c.txt\npytest\n", files={"c.txt": "attrs<99\n"})
    assert given.package_files(stubs=True)["constraints.txt"] == "attrs<99\n"
    assert "--constraints" in given.install_packages(compile_bytecode=True).argv


def test_static_projects_are_stood_in_for_by_their_metadata() -> None:
    pyproject = '[project]\nname = "foo"\nversion = "1"\ndependencies = ["attrs"]\n'
    given = installer("-e .[x]\n", files={"pyproject.toml": pyproject})
    files = given.package_files(stubs=True)
    assert files["requirements.txt"] == "foo[x] @ file:///v/.build/stubs/foo-1-py3-none-any.whl\n"
    assert "Requires-Dist: attrs" in files["stubs.json"]
    assert "overrides.txt" not in files
    assert given.project_files() == {"projects.txt": "-e file:///workspace[x]\n"}
    assert given.remove_stubs().argv[-1] == "foo"


def test_a_version_that_is_not_known_overrides_what_others_ask_for() -> None:
    pyproject = (
        '[project]\nname = "foo"\ndynamic = ["version"]\n'
        '[project.optional-dependencies]\nall = ["foo[x]"]\nx = ["attrs"]\n'
    )
    given = installer("./sub[all] ; os_name == 'posix'\n", files={"sub/pyproject.toml": pyproject})
    files = given.package_files(stubs=True)
    assert files["overrides.txt"] == "foo[all,x] @ file:///v/.build/stubs/foo-0-py3-none-any.whl\n"
    assert "--overrides" in given.install_packages(compile_bytecode=True).argv
    assert given.project_files()["projects.txt"] == 'file:///workspace/sub[all] ; os_name == "posix"\n'


def test_the_scripts_that_run_in_containers_do_what_they_say(tmp_path: Path) -> None:
    packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for folder in ("bin", packages, "share/man", ".build"):
        (lower / folder).mkdir(parents=True)
    for path, content in (
        ("pyvenv.cfg", b"home = /usr/bin\n"),
        ("bin/tool", b"#!/bin/sh\n"),
        ("bin/program", b"\x7fELF"),
        ("share/man/tool.1", b"manual"),
        (f"{packages}/lower_module.py", b"from_lower = 1"),
        (".complete", b""),
    ):
        (lower / path).write_bytes(content)
    (lower / "bin/python").symlink_to(sys.executable)
    script = installer("a").lay_over(str(lower)).argv[1:-1]
    subprocess.run([sys.executable, *script, upper], check=True)
    assert sorted(path.name for path in upper.iterdir()) == ["bin", "lib", "pyvenv.cfg", "share"]
    assert (upper / "share/man/tool.1").read_bytes() == b"manual"
    assert not (upper / "bin/tool").is_symlink()
    assert (upper / "bin/program").readlink() == lower / "bin/program"
    assert (upper / "bin/python").readlink() == Path(sys.executable)
    seen = subprocess.run(
        [upper / "bin/python", "-c", "import lower_module, sys; print(lower_module.from_lower, sys.prefix)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert seen.stdout == f"1 {upper}\n"


def test_stand_ins_are_wheels(tmp_path: Path) -> None:
    pyproject = '[project]\nname = "foo.bar"\nversion = "1"\ndependencies = ["attrs"]\n'
    given = installer(".\n", files={"pyproject.toml": pyproject})
    stubs = tmp_path / "stubs.json"
    stubs.write_text(given.package_files(stubs=True)["stubs.json"])
    script = given.write_stubs().argv[1:-2]
    subprocess.run([sys.executable, *script, stubs, tmp_path / "made"], check=True)
    with zipfile.ZipFile(tmp_path / "made/foo_bar-1-py3-none-any.whl") as wheel:
        names = [f"foo_bar-1.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL")]
        assert sorted(wheel.namelist()) == names
        assert b"Requires-Dist: attrs" in wheel.read("foo_bar-1.dist-info/METADATA")


def test_dynamic_projects_are_installed_as_they_are() -> None:
    given = installer("-e .\npytest\n", files={"setup.py": ""})
    assert given.package_files(stubs=False) == {"requirements.txt": "pytest\n-e file:///workspace\n"}


@pytest.mark.parametrize(
    "text",
    [
        "no section",
        "[global]\nno-index = maybe\n",
        "[global]\ntimeout = x\n",
        "[global]\nfind-links = dist\n",
    ],
)
def test_a_faulty_pip_conf_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="pip configuration"):
        parse_pip_conf(text)


def test_an_empty_pip_conf_changes_nothing() -> None:
    assert parse_pip_conf("") == PackageSources()


def test_a_proxy_is_for_the_installer() -> None:
    step = installer("a\n", "[global]\nproxy = http://p:3128\n").install_packages(compile_bytecode=True)
    assert step.environment["HTTPS_PROXY"] == "http://p:3128"
