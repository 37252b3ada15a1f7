from dataclasses import replace
from datetime import timedelta

import pytest

from ci_common.clock import utc_now
from ci_common.ids import UserId, VolumeName
from ci_common.models import Environment, Phase, SubmitOptions
from ci_controller.environments import (
    Placement,
    environment_key,
    is_fresh,
    plan_fetch,
    plan_install,
    plan_test,
)
from ci_controller.installer import InstallerSettings
from ci_controller.requirements import Requirements, read_requirements
from ci_controller.runner_spec import RunnerSpec
from tests.unit.controller.project_files import bundle_of

ALICE = UserId("a")
BOB = UserId("b")
PLACEMENT = Placement(
    uid=20_001, gid=20_001, cpus=1.5, time_limit_seconds=60, log_limit_bytes=1000, disk_limit_bytes=2000
)
PYPROJECT = '[project]\nname = "foo"\nversion = "1"\ndependencies = ["attrs"]\n'


def requirements_of(text: str, **files: str) -> Requirements:
    bundle = bundle_of({"requirements.txt": text, **{n.replace("_", "."): c for n, c in files.items()}})
    return read_requirements(bundle, InstallerSettings().sources)


def key(
    files: dict[str, str | bytes],
    *,
    user: UserId = ALICE,
    image: str = "sha256:1",
    pip_conf: str | None = None,
    ca_bundle: str | None = None,
) -> str:
    settings = InstallerSettings.from_texts(pip_conf, ca_bundle)
    bundle = bundle_of(files)
    return environment_key(user, image, settings, read_requirements(bundle, settings.sources), bundle)


def test_the_key_is_a_digest_that_stays_the_same() -> None:
    first = key({"requirements.txt": "pytest\n", "a.py": "1"})
    assert first == key({"requirements.txt": "pytest  # comment\n", "a.py": "2"})
    assert len(first) == 64


WHEEL = "a-1-py3-none-any.whl"
LOCAL: dict[str, str | bytes] = {
    "requirements.txt": f"./{WHEEL}\n-e .\n",
    WHEEL: "1",
    "pyproject.toml": PYPROJECT,
}


def test_what_decides_the_content_changes_the_key() -> None:
    keys = [
        key(LOCAL),
        key(LOCAL, user=BOB),
        key(LOCAL, image="sha256:2"),
        key(LOCAL, pip_conf="[global]\nindex-url=https://x\n"),
        key(LOCAL, ca_bundle="pem"),
        key({**LOCAL, WHEEL: "2"}),
        key({**LOCAL, "requirements.txt": f"./{WHEEL}\n-e .[x]\n"}),
        key({**LOCAL, "requirements.txt": f"./{WHEEL}\n-e .\npytest\n"}),
        key({**LOCAL, "pyproject.toml": PYPROJECT.replace("attrs", "attr")}),
        key({**LOCAL, "requirements.txt": f"-c c.txt\n./{WHEEL}\n-e .\n", "c.txt": "attrs<9\n"}),
    ]
    assert len(set(keys)) == len(keys)


def test_what_is_not_installed_leaves_the_key_alone() -> None:
    assert key(LOCAL) == key({**LOCAL, "b.whl": "3", "src/foo/__init__.py": "new"})
    assert key(LOCAL) == key({**LOCAL, "pyproject.toml": PYPROJECT + "[tool.x]\ny = 1\n"})


@pytest.mark.parametrize(
    ("age_seconds", "fresh"), [(0, True), (59.9, True), (60, False), (1e6, False), (-1, False)]
)
def test_an_environment_expires(age_seconds: float, fresh: bool) -> None:
    now = utc_now()
    made = now - timedelta(seconds=age_seconds)
    environment = Environment("k", ALICE, VolumeName("v"), made, made)
    assert is_fresh(environment, now, timedelta(seconds=60)) is fresh


def argvs(spec: RunnerSpec) -> list[str]:
    return [" ".join(step.argv) for step in spec.steps]


def test_a_plain_job_runs_on_its_environment() -> None:
    requirements = requirements_of("pytest\n")
    spec = plan_test(requirements, InstallerSettings(), SubmitOptions(), PLACEMENT)
    assert argvs(spec) == ["/env/bin/python -m pytest -v"]
    (step,) = spec.steps
    assert step.phase is Phase.TEST
    assert spec.require_marker == "/env/.complete"
    assert spec.write_marker is None
    assert spec.config_files == {}
    assert (spec.uid, spec.gid, spec.time_limit_seconds) == (20_001, 20_001, 60)
    assert (spec.log_limit_bytes, spec.disk_limit_bytes) == (1000, 2000)


def test_an_environment_is_made_without_the_project() -> None:
    requirements = requirements_of(
        "./a-1-py3-none-any.whl\n-e .\n", **{WHEEL: "x", "pyproject_toml": PYPROJECT}
    )
    plan = plan_install(requirements, InstallerSettings(), SubmitOptions(), PLACEMENT)
    assert plan.paths == {WHEEL}
    assert plan.spec.write_marker == "/env/.complete"
    assert plan.spec.require_marker is None
    assert plan.spec.writable == ("/env",)
    assert {step.phase for step in plan.spec.steps} == {Phase.INSTALL}
    assert [argv.split()[0] for argv in argvs(plan.spec)] == ["uv", "python3", "uv", "uv", "rm"]
    assert argvs(plan.spec)[-1] == "rm -rf /env/.build"


def test_wheels_are_fetched_without_running_anything_of_theirs() -> None:
    requirements = requirements_of("-e .\npytest\n", pyproject_toml=PYPROJECT)
    spec = plan_fetch(requirements, InstallerSettings(), PLACEMENT)
    stubs, fetch, compiled, remove = spec.steps
    assert stubs.argv[:3] == ("python3", "-I", "-c")
    assert fetch.argv[:6] == ("uv", "pip", "install", "--no-config", "--no-sources", "--no-build")
    assert fetch.argv[fetch.argv.index("--python") + 1] == "python3"
    assert "--compile-bytecode" not in fetch.argv
    assert compiled.argv[:4] == ("python3", "-I", "-S", "-c")
    assert remove.argv == ("rm", "-rf", "/env/.build/fetched", "/env/.build/stubs")
    assert (spec.writable, spec.write_marker) == (("/env",), None)
    install = plan_install(requirements, InstallerSettings(), SubmitOptions(), PLACEMENT).spec
    assert spec.config_files == install.config_files
    used = [step.environment["UV_CACHE_DIR"] for step in (*install.steps, fetch) if step.argv[0] == "uv"]
    assert set(used) == {"/env/.build/cache"}


def test_a_static_project_is_laid_over_its_environment() -> None:
    spec = plan_test(
        requirements_of("-e .\n", pyproject_toml=PYPROJECT), InstallerSettings(), SubmitOptions(), PLACEMENT
    )
    lay_over, install, test = spec.steps
    assert lay_over.argv[-2:] == ("/env", "/job/venv")
    assert "--no-deps" in install.argv
    assert test.argv[0] == "/job/venv/bin/python"
    assert test.environment["PATH"].startswith("/job/venv/bin:/usr/local/sbin:")
    assert "PYTHONPATH" not in test.environment
    assert spec.require_marker == "/env/.complete"


def test_a_dynamic_project_installs_everything_in_the_job() -> None:
    requirements = requirements_of("-e .\npytest\n", setup_py="")
    spec = plan_test(requirements, InstallerSettings(), SubmitOptions(), PLACEMENT)
    assert not requirements.are_static
    assert [step.argv[:2] for step in spec.steps] == [
        ("uv", "venv"),
        ("uv", "pip"),
        ("/job/venv/bin/python", "-m"),
    ]
    assert spec.require_marker is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(None, ("-v",)), ((), ()), (("-q", "tests/a b.py"), ("-q", "tests/a b.py"))],
)
def test_pytest_gets_the_users_arguments(given: tuple[str, ...] | None, wanted: tuple[str, ...]) -> None:
    spec = plan_test(
        requirements_of("pytest\n"), InstallerSettings(), SubmitOptions(pytest_args=given), PLACEMENT
    )
    assert spec.steps[-1].argv == ("/env/bin/python", "-m", "pytest", *wanted)


def test_the_documented_environment_of_the_tests() -> None:
    settings = InstallerSettings.from_texts("[global]\n", "pem")
    spec = plan_test(requirements_of("pytest\n"), settings, SubmitOptions(columns=123), PLACEMENT)
    ca_bundle = "/run/ci/ca-certificates.crt"
    assert spec.steps[-1].environment == {
        "HOME": "/home/ci",
        "USER": "ci",
        "LOGNAME": "ci",
        "SHELL": "/bin/sh",
        "PATH": "/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "VIRTUAL_ENV": "/env",
        "PYTHONPATH": "/workspace/src",
        "CI": "true",
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "123",
        "PYTHON_CPU_COUNT": "1",
        "PYTEST_XDIST_AUTO_NUM_WORKERS": "1",
        "PIP_CONFIG_FILE": "/run/ci/pip.conf",
        "SSL_CERT_FILE": ca_bundle,
        "REQUESTS_CA_BUNDLE": ca_bundle,
        "CURL_CA_BUNDLE": ca_bundle,
        "PIP_CERT": ca_bundle,
        "GIT_SSL_CAINFO": ca_bundle,
        "NODE_EXTRA_CA_CERTS": ca_bundle,
    }
    assert spec.ca_bundle == "pem"
    assert spec.config_files == {"pip.conf": "[global]\n"}


def test_colour_comes_by_variables_and_fractions_of_a_cpu_count_as_one() -> None:
    placement = replace(PLACEMENT, cpus=0.5)
    spec = plan_test(requirements_of("pytest\n"), InstallerSettings(), SubmitOptions(color=True), placement)
    environment = spec.steps[-1].environment
    assert (environment["FORCE_COLOR"], environment["TERM"]) == ("1", "xterm-256color")
    assert environment["PYTHON_CPU_COUNT"] == "1"
    assert environment["COLUMNS"] == "80"
