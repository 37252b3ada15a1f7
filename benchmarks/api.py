"""The server's HTTP interface for measurements that must not count the client's own start."""

import http.client
import io
import json
import time
import uuid
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.installation import Installation

_CALL_SECONDS = 600.0
_IDLE_SECONDS = 1.0
"""An idle connection is not trusted for longer."""


class Api:
    """One user's calls over one connection, for one thread."""

    def __init__(self, installation: Installation) -> None:
        address = urlsplit(installation.address)
        self._connection = http.client.HTTPConnection(address.netloc, timeout=_CALL_SECONDS)
        self._headers = {"Authorization": f"Bearer {installation.key}"}
        self._used = time.monotonic()

    def submit(self, archive: bytes, *pytest_args: str) -> str:
        """Queue a job; its id."""
        boundary = uuid.uuid4().hex
        options = json.dumps({"pytest_args": pytest_args})
        body = b"".join(
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="options"\r\n\r\n'.encode(),
                f"{options}\r\n".encode(),
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n'.encode(),
                b"Content-Type: application/zip\r\n\r\n",
                archive,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        content = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer: dict[str, str] = json.loads(self._call("POST", "/submit-async", body, content))
        return answer["job_id"]

    def wait(self, job_id: str) -> dict[str, object]:
        """The job, once it has completed."""
        self._call("GET", f"/jobs/{job_id}/stream")
        return self.job(job_id)

    def job(self, job_id: str) -> dict[str, object]:
        """The job as it is."""
        found: dict[str, object] = json.loads(self._call("GET", f"/jobs/{job_id}"))
        return found

    def cancel(self, job_id: str) -> None:
        """Stop the job and wait for its end."""
        self._call("POST", f"/jobs/{job_id}/cancel")
        self._call("GET", f"/jobs/{job_id}/stream")

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self._connection.close()  # the server may have; it opens itself again
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        answer = self._connection.getresponse()
        content = answer.read()
        self._used = time.monotonic()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")
        return content


def archive_of(project: Path) -> bytes:
    """The project as a submission carries it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(project.rglob("*")):
            archive.write(path, path.relative_to(project))
    return buffer.getvalue()
