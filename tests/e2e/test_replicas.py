"""Several servers on one database: any of them may die at any moment."""

import io
import json
import os
import signal
import zipfile
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.balancer import Balancer
from tests.e2e.checks import assert_ended
from tests.e2e.conditions import PATIENCE_SECONDS
from tests.e2e.installation import Client, Installation, Submitted, job_id_in
from tests.e2e.projects import RAW, ProjectMaker, counted, counting

LINES = 400
ENDED_BY_SIGTERM = {0, -signal.SIGTERM}
"""uvicorn gives itself the signal once more when all is closed."""


@pytest.fixture
def balancer(installation: Installation) -> Iterator[Balancer]:
    """One address for a replica of the test's own and, behind it, the common one."""
    made = Balancer([installation.start_server(), installation.url])
    yield made
    made.close()


@pytest.fixture
def balanced(installation: Installation, client: Client, balancer: Balancer) -> Client:
    """The common user, by way of the balancer."""
    return installation.client(client.user, balancer.url)


def first_replica(installation: Installation) -> str:
    """The one that the balancer prefers: the newest."""
    return installation.urls[-1]


def test_one_killed_in_mid_stream(
    installation: Installation, balanced: Client, project: ProjectMaker
) -> None:
    running = balanced.start("submit", "test", "--", *RAW, cwd=project.test(counting(LINES, 0.01)))
    running.stdout.wait_for(b"line 50\n")
    installation.server(first_replica(installation)).kill()
    done = running.finish()
    assert_ended(balanced, Submitted(job_id_in(done.stderr), done), 0, counted(LINES))


def test_one_that_is_shut_down_sends_its_clients_to_another(
    installation: Installation, balanced: Client, project: ProjectMaker
) -> None:
    running = balanced.start("submit", "test", "--", *RAW, cwd=project.test(counting(LINES, 0.01)))
    running.stdout.wait_for(b"line 50\n")
    assert installation.server(first_replica(installation)).stop() in ENDED_BY_SIGTERM
    done = running.finish()
    assert_ended(balanced, Submitted(job_id_in(done.stderr), done), 0, counted(LINES))


def test_connections_cut_again_and_again(balancer: Balancer, balanced: Client, project: ProjectMaker) -> None:
    running = balanced.start("submit", "test", "--", *RAW, cwd=project.test(counting(LINES, 0.01)))
    for number in (20, 60, 61, 150, 300):
        running.stdout.wait_for(b"line %d\n" % number)
        balancer.cut()
    done = running.finish()
    assert_ended(balanced, Submitted(job_id_in(done.stderr), done), 0, counted(LINES))
    assert balancer.accepted > 5


def test_two_replicas_show_the_same_live(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    other = installation.client(client.user, installation.start_server())
    job_id = client.submit_async(project.test(counting(200, 0.01)), *RAW)
    watchers = [watcher.start("wait", job_id, "--all") for watcher in (client, other, client, other)]
    for watcher in watchers:
        done = watcher.finish()
        assert (done.exit_code, done.stdout) == (0, counted(200))


def test_resuming_by_number_gives_every_event_once(client: Client, project: ProjectMaker) -> None:
    job_id = client.submit_async(project.test(counting(300, 0.01)), *RAW)
    url = f"{client.environ['CI_API_URL']}/jobs/{job_id}/stream"
    seen: list[tuple[int, dict[str, object]]] = []
    while not seen or seen[-1][1]["type"] != "complete":
        # Hang up after each tenth event, wherever that is.
        seen += _some_events(client, url, seen[-1][0] if seen else 0, 10)
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    logged = "".join(
        str(data["data"]) for _, data in seen if data["type"] == "log" and data["phase"] == "test"
    )
    assert logged.encode() == counted(300)
    last = len(seen)
    (again,) = _some_events(client, url, last + 1000, 10)
    assert again == seen[-1]


def _some_events(client: Client, url: str, after: int, count: int) -> list[tuple[int, dict[str, object]]]:
    headers = {"Authorization": f"Bearer {client.user.key}", "Last-Event-ID": str(after)}
    found: list[tuple[int, dict[str, object]]] = []
    number = ""
    with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
        for line in answer.iter_lines():
            if line.startswith("id:"):
                number = line.removeprefix("id:").strip()
            elif line == "":
                number = ""
            elif line.startswith("data:") and number:
                found.append((int(number), json.loads(line.removeprefix("data:"))))
                if len(found) == count:
                    break
    return found


def test_a_replica_ends_cleanly_by_sigterm(installation: Installation, client: Client) -> None:
    url = installation.start_server()
    assert client.run("list", CI_API_URL=url).exit_code == 0
    service = installation.server(url)
    assert service.stop() in ENDED_BY_SIGTERM
    assert "Traceback" not in service.read_log()


def test_an_upload_that_is_cut_is_sent_again_and_makes_one_job(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    made = project.test("import os\n\ndef test_it():\n    os.write(1, b'%d' % os.path.getsize('big'))\n")
    (made / "big").write_bytes(os.urandom(8 << 20))
    before = len(client.jobs())
    balancer = Balancer([installation.url], hold_after_bytes=4 << 20)
    running = installation.client(client.user, balancer.url).start("submit", "test", "--", *RAW, cwd=made)
    assert balancer.held.wait(PATIENCE_SECONDS)
    balancer.cut()
    balancer.release()
    done = running.finish()
    assert (done.exit_code, done.stdout) == (0, b"%d" % (8 << 20))
    assert len(client.jobs()) == before + 1
    balancer.close()


@pytest.mark.parametrize("name", ["../outside", "/etc/cron.d/x", "a/../../x"])
def test_an_archive_that_leads_outside_is_refused(client: Client, name: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("requirements.txt", "pytest\n")
        writer.writestr(name, "")
    before = client.jobs()
    answer = httpx.post(
        f"{client.environ['CI_API_URL']}/submit-async",
        headers={"Authorization": f"Bearer {client.user.key}"},
        files={"file": ("project.zip", archive.getvalue())},
        timeout=60,
        trust_env=False,
    )
    assert 400 <= answer.status_code < 500
    assert name in answer.json()["detail"]
    assert client.jobs() == before
