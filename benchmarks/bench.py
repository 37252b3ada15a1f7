"""What all rows share: where to measure, how often, beside what; and that nothing of it is left behind.

One installation with default settings serves the rows that need no other; it and the baseline's image are
made when the first of them asks. Runs of the platform and of its baseline take turns, so that whatever else
the machine does meets both.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self, cast

from benchmarks import sample_projects
from benchmarks.api import Api, archive_of
from benchmarks.engine import Engine, EngineFault, Json
from benchmarks.installation import Installation, authorities, command, temporary_installation

CA_PATH = "/ca.pem"
"""Where baselines find the host's authorities."""
PYTEST = ("-m", "pytest", "-q")
_SEEN_FOR_SECONDS = 1.0
_SEEN_WITHIN_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_STARTED_AHEAD = "ci-warm-"
_REST_SECONDS = 1.0
_AT_REST_WITHIN_SECONDS = 60.0


class Progress:
    """Tells on stderr what is being done."""

    def __init__(self) -> None:
        self._row = ""

    def row(self, name: str) -> None:
        """A row begins."""
        self._row = name
        self.tell("begins")

    def tell(self, text: str) -> None:
        """A line about the present row."""
        print(f"{time.strftime('%H:%M:%S')} {self._row}: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Ground:
    """An installation with what its baselines need to be like its jobs."""

    installation: Installation
    job: Json
    """The engine's description of one of its jobs' containers."""

    @property
    def host_config(self) -> Json:
        """The limits, mounts and network of the job's container."""
        return cast("Json", self.job["HostConfig"])

    @property
    def network(self) -> str:
        """What `docker run --network` takes."""
        return str(self.host_config["NetworkMode"])

    @property
    def instance(self) -> str:
        """The installation's id."""
        return str(cast("Json", cast("Json", self.job["Config"])["Labels"])["ci.instance"])

    @property
    def image(self) -> str:
        """The image of the job's container."""
        return str(cast("Json", self.job["Config"])["Image"])


@dataclass
class Bench:
    """One run of the benchmarks."""

    folder: Path
    quick: bool
    engine: Engine = field(default_factory=Engine)
    progress: Progress = field(default_factory=Progress)
    _standard: Ground | None = None
    _standard_stack: ExitStack = field(default_factory=ExitStack)
    _base_image: str | None = None
    _instance: str | None = None
    """Of the installation that is there at present."""
    _count: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._standard_stack.close()
        finally:
            self.engine.clean_up()

    def choose(self, full: int, quick: int) -> int:
        """A number of runs or a size."""
        return quick if self.quick else full

    # Places

    def new_folder(self, name: str) -> Path:
        """An empty folder that is nobody else's."""
        self._count += 1
        folder = self.folder / f"{self._count:04d}-{name}"
        folder.mkdir()
        return folder

    def copy_of(self, project: Path) -> Path:
        """The same files, without what an earlier run has put beside them."""
        target = self.new_folder("copy")
        shutil.copytree(project, target, dirs_exist_ok=True)
        return target

    @cached_property
    def small_project(self) -> Path:
        """The project of most rows."""
        return sample_projects.small(self.new_folder("small"))

    @property
    def standard(self) -> Ground:
        """The installation with default settings."""
        if self._standard is None:
            self._standard = self._standard_stack.enter_context(self._ground())
        return self._standard

    @contextlib.contextmanager
    def ground(self, **settings: str) -> Generator[Ground]:
        """An installation of its own; the standard one ends, for they would share memory and processor."""
        self._standard = None
        self._standard_stack.close()
        with self._ground(**settings) as ground:
            yield ground

    @contextlib.contextmanager
    def roomy_ground(self) -> Generator[Ground]:
        """An installation with default settings whose memory is looked at, but in a quick run not closely."""
        if self.quick:
            yield self.standard
        else:
            with self.ground() as ground:
                yield ground

    @contextlib.contextmanager
    def _ground(self, **settings: str) -> Generator[Ground]:
        """A warm installation: the packages of the sample projects are installed, bytecode is stored."""
        said = " ".join(f"{name}={value}" for name, value in settings.items())
        self.progress.tell(f"an installation starts {said}".rstrip())
        with temporary_installation(self.new_folder("installation"), **settings) as installation:
            self.submit_seconds(installation, self.small_project)
            self._base_image = self._base_image or _newest_base_image(installation)
            ground = Ground(installation, self._seen_job(installation))
            self._instance = ground.instance
            yield ground

    def _seen_job(self, installation: Installation) -> Json:
        sleeping = sample_projects.sleeping(self.new_folder("sleeping"), _SEEN_FOR_SECONDS)
        api = Api(installation)
        job_id = api.submit(archive_of(sleeping), "-q")
        try:
            return self.wait_for_container(job_id)
        finally:
            api.wait(job_id)

    def wait_for_container(self, job_id: str) -> Json:
        """The running container of a job."""
        deadline = time.monotonic() + _SEEN_WITHIN_SECONDS
        while time.monotonic() < deadline:
            found = self.engine.inspect(f"ci-job-{job_id}")
            if found is not None and cast("Json", found["State"])["Running"]:
                return found
            time.sleep(_LOOK_SECONDS)
        raise RuntimeError(f"job {job_id} has no running container")

    @property
    def base_image(self) -> str:
        """The platform's newest base image: Python and uv, no packages."""
        assert self._base_image is not None, "asked for beside an installation"
        return self._base_image

    @cached_property
    def packed_image(self) -> str:
        """The base image with the sample projects' packages in `/v`."""
        self.progress.tell("the baseline's image is made")
        name = self.engine.label.replace("=", "-").replace(".", "-")
        network = self.standard.network
        options = [*self.authority_options(), "--network", network, self.base_image]
        packages = " ".join(sample_projects.REQUIREMENTS)
        return self.engine.commit([*options, "sh", "-ec", install_script(packages)], name)

    def authority_options(self) -> list[str]:
        """Options of `docker run` that let uv trust what this host trusts."""
        bundle = authorities().get("CI_CA_BUNDLE")
        if bundle is None:
            return []
        return ["--volume", f"{bundle}:{CA_PATH}:ro", "--env", f"SSL_CERT_FILE={CA_PATH}"]

    # Runs

    def packed_command(self, project: Path, *pytest_args: str) -> list[str]:
        """`docker run` that tests `project` with the packages in the image already."""
        return self.engine.run_command(
            *("--network", self.standard.network),
            *("--volume", f"{self.copy_of(project)}:/workspace", "--workdir", "/workspace"),
            *("--env", "PYTHONUNBUFFERED=1", self.packed_image),
            *("/v/bin/python", *PYTEST, *pytest_args),
        )

    def submit_seconds(self, installation: Installation, project: Path, *pytest_args: str) -> float:
        """Wall time of the whole command `ci submit test`."""
        started = time.monotonic()
        done = installation.ci("submit", "test", "--", "-q", *pytest_args, cwd=project)
        seconds = time.monotonic() - started
        if done.returncode != 0:
            raise RuntimeError(f"ci submit test: {done.returncode}\n{_text(done.stdout)}{_text(done.stderr)}")
        return seconds

    def alternate(
        self, rounds: int, *measures: Callable[[], float], uses_engine: bool = True
    ) -> list[list[float]]:
        """Let each of `measures` run once a round, one after the other; each one's results.

        What one leaves to the platform (removing a container, starting others ahead) must not cost the next
        one: where they use the engine, each begins when it has come to rest.
        """
        results: list[list[float]] = [[] for _ in measures]
        for number in range(rounds):
            for measure, found in zip(measures, results, strict=True):
                if uses_engine:
                    self._rest()
                found.append(measure())
            self.progress.tell(
                f"{number + 1} of {rounds}: {', '.join(f'{found[-1]:.3f}' for found in results)}"
            )
        return results

    def _rest(self) -> None:
        """Return when the installation's containers have been the same for a while, and none works."""
        deadline = time.monotonic() + _AT_REST_WITHIN_SECONDS
        if self._instance is None:
            return
        seen, since = self.engine.containers_of(self._instance), time.monotonic()
        while time.monotonic() - since < _REST_SECONDS:
            time.sleep(_LOOK_SECONDS)
            now = self.engine.containers_of(self._instance)
            if now != seen or not all(name.startswith(_STARTED_AHEAD) for name, _ in now):
                seen, since = now, time.monotonic()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the platform's containers don't come to rest: {sorted(seen)}")


def _newest_base_image(installation: Installation) -> str:
    listed = subprocess.run(
        [command("ci-admin"), "image", "list", "--json"],
        env=dict(installation.admin_environ),
        capture_output=True,
        check=True,
    )
    images: list[dict[str, str]] = json.loads(listed.stdout)
    if not images:
        raise EngineFault("there is no base image: `ci-admin image build`")
    return max(images, key=lambda image: image["created_at"])["name"]


def install_script(packages: str) -> str:
    """What a person would type to have `packages` in a virtual environment `/v`."""
    return (
        "uv venv --quiet /v && uv pip install --quiet --compile-bytecode --python /v/bin/python " + packages
    )


def command_seconds(argv: Sequence[str], environ: dict[str, str] | None = None) -> float:
    """Wall time of a command that must end well; its output goes to a pipe."""
    started = time.monotonic()
    done = subprocess.run(argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        raise RuntimeError(
            f"{argv[0]} ended with {done.returncode}:\n{_text(done.stdout)}{_text(done.stderr)}"
        )
    return seconds


def _text(output: bytes) -> str:
    return output.decode(errors="replace")[-2000:]
