"""The projects of other people whose tests are run, and what each needs to run them.

Versions, digests and requirements are pinned, so that the table can be made again. Where a project ships
its own pinned file of test requirements, that is used.
"""

from dataclasses import dataclass

_PYTEST = "pytest==8.4.2"
_OWN_PINS = "-r requirements/tests.txt"

_FLASK_SHA256 = "284c7b8f2f58cb737f0cf1c30fd7eaf0ccfcde196099d24ecede3fc2005aa59e"
_FLASK_REQUIREMENTS = (
    ".[async,dotenv]",
    _PYTEST,
    "werkzeug==3.1.3",
    "click==8.1.8",
    "asgiref==3.9.1",
    "python-dotenv==1.1.1",
)


@dataclass(frozen=True, slots=True)
class Project:
    """One source distribution, and the `requirements.txt` that is put into it."""

    name: str
    version: str
    sha256: str
    requirements: tuple[str, ...]
    ci_ignore: tuple[str, ...] = ()
    """Lines of a `.ciignore` that is put into it, too."""
    reason: str = ""
    """Why results are known to differ, for the page."""
    failure: str = ""
    """Why tests are known to fail wherever they run, for the page."""

    @property
    def label(self) -> str:
        """What the page calls it."""
        return f"{self.name} with `.ciignore`" if self.ci_ignore else self.name


PROJECTS = (
    Project(
        "attrs",
        "25.3.0",
        "75d7cefc7fb576747b2c81b4442d4d4a1ce0900973527c011d1030fd3bf4af1b",
        ("-e .", _PYTEST, "hypothesis==6.140.2", "cloudpickle==3.1.1", "pympler==1.1"),
        failure="`inspect.signature` of Python 3.11.2 refuses an object whose `__call__` is a slot.",
    ),
    Project(
        "click",
        "8.1.8",  # in 8.2 some tests of the pager race with its end, here as anywhere
        "ed53c9d8990d83c2a27deae68e4ee337473f6330c040a31d4225c9574d16096a",
        (".", _PYTEST),
    ),
    Project(
        "flask",
        "3.1.1",
        _FLASK_SHA256,
        _FLASK_REQUIREMENTS,
        reason="these tests read `tests/test_apps/.env` and `.flaskenv`; files whose names begin with a dot "
        "stay behind. The next row has them brought back, as a user of the platform would.",
    ),
    Project("flask", "3.1.1", _FLASK_SHA256, _FLASK_REQUIREMENTS, ci_ignore=("!.env", "!.flaskenv")),
    Project(
        "h11",
        "0.16.0",
        "4e35b956cf45792e4caa5885e69fba00bdbc6ffafbfa020300e549b208ee5ff1",
        (".", _PYTEST),
    ),
    Project(
        "idna",
        "3.10",
        "12f65c9b470abda6dc35cf8e63cc574b1c52b11df2c86030af0ac09b01b13ea9",
        (".", _PYTEST),
    ),
    Project(
        "itsdangerous",
        "2.2.0",
        "e0050c0b7da1eea53ffaf149c0cfbb5c6e2e2b69c4bef22c81fa6eb73e5f6173",
        (".", _OWN_PINS),
    ),
    Project(
        "jinja2",
        "3.1.6",
        "0137fb05990d35f1275a587e9aee6d56da821fc83491a0fb838183be43f66d6d",
        (".", _OWN_PINS),
    ),
    Project(
        "markupsafe",
        "3.0.2",
        "ee55d3edf80167e48ea11a923c7386f4669df67d7994554387f84e7d8b0a2bf0",
        (".", _OWN_PINS),
    ),
    Project(
        "more-itertools",
        "10.7.0",
        "9fddd5403be01a94b204faadcff459ec3568cf110265d3c54323e1e866ad29d3",
        (".", _PYTEST),
    ),
    Project(
        "packaging",
        "25.0",
        "d443872c98d677bf60f6a1f2f8c1cb748e8fe762d2bf9d3148b5599295b0fc4f",
        (".", _PYTEST, "pretend==1.0.9"),
    ),
    Project(
        "platformdirs",
        "4.3.8",
        "3d512d96e16bcb959a814c9f348431070822a6496326a4be0911c40b5a74c2bc",
        (".", _PYTEST, "appdirs==1.4.4", "pytest-mock==3.15.1"),
    ),
    Project(
        "pluggy",
        "1.6.0",
        "7dcc130b76258d33b90f61b658791dede3486c3e6bfb003ee5c9bfb396dd22f3",
        (".", _PYTEST),
    ),
    Project(
        "python-dateutil",
        "2.9.0.post0",
        "37dd54208da7e1cd875388217d5e00ebd4179249f90fb72437e91a35459a0ad3",
        (".", "pytest==8.3.5", "pytest-cov==6.0.0", "hypothesis==6.140.2", "freezegun==1.5.5"),
    ),
    Project(
        "werkzeug",
        "3.1.3",
        "60723ce945c19328679790e3282cc758aa4a6040e4bb330f53d30fa546d44746",
        (".", _OWN_PINS),
    ),
)
