"""The environment variables that a job's processes see: all of them, nothing is inherited. Pure.

Documented for users (README): whoever changes something here changes it there.
"""

from collections.abc import Mapping

from ci_common.models import SubmitOptions
from ci_controller.runner_spec import CA_BUNDLE_PATH, CONFIG_FOLDER

HOME = "/home/ci"
USER_NAME = "ci"
DEFAULT_COLUMNS = 80
PIP_CONF = "pip.conf"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)


def job_environment(
    options: SubmitOptions, *, cpus: float, has_pip_conf: bool, has_ca_bundle: bool
) -> Mapping[str, str]:
    """What every process of a job sees, before its virtual environment is put in front."""
    processors = str(max(1, int(cpus)))
    variables = {
        "HOME": HOME,
        "USER": USER_NAME,
        "LOGNAME": USER_NAME,
        "SHELL": "/bin/sh",
        "PATH": SYSTEM_PATH,
        "CI": "true",
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": str(options.columns or DEFAULT_COLUMNS),
        "PYTHON_CPU_COUNT": processors,
        "PYTEST_XDIST_AUTO_NUM_WORKERS": processors,
    }
    if options.color:
        variables |= {"FORCE_COLOR": "1", "PY_COLORS": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color"}
    if has_pip_conf:
        variables["PIP_CONFIG_FILE"] = f"{CONFIG_FOLDER}/{PIP_CONF}"
    if has_ca_bundle:
        variables |= dict.fromkeys(_CA_VARIABLES, CA_BUNDLE_PATH)
    return variables


def with_virtual_environment(variables: Mapping[str, str], path: str) -> dict[str, str]:
    """`variables` as after the activation of the virtual environment at `path`."""
    return {**variables, "VIRTUAL_ENV": path, "PATH": f"{path}/bin:{variables['PATH']}"}
