"""The form of a submission, parsed as it arrives: nothing of the file is held here.

A form has one part `file` and at most one part `options`; everything else is refused as soon as it
shows. The parser is fed by hand because the framework's own form handling reads the whole body before
anybody has looked at the key.
"""

from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ci_common.bundle_paths import shown
from ci_server.errors import UploadRefused

MAX_OPTIONS_BYTES = 1 << 20
_MAX_EPILOGUE_BYTES = 1024
_PLAIN_ENCODINGS = {"", "binary", "8bit", "7bit"}


class SubmissionForm:
    """One form; `feed` it until the body ends, then `finish`."""

    def __init__(self, content_type: str | None, write_file: Callable[[bytes], None]) -> None:
        self.options: bytes | None = None
        """The `options` part; None as long as there was none."""
        self._write_file = write_file
        self._seen: set[str] = set()
        self._part = ""
        self._headers: dict[str, str] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._options = bytearray()
        self._is_complete = False
        self._epilogue_bytes = 0
        self._parser = self._made_parser(_boundary(content_type))

    def _made_parser(self, boundary: bytes) -> MultipartParser:
        try:
            return MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise UploadRefused(400, f"the multipart boundary is not acceptable: {error}") from None

    def feed(self, data: bytes) -> None:
        """The next piece of the body.

        Raises:
            UploadRefused: it is no form as described above.
        """
        if self._is_complete:
            self._epilogue_bytes += len(data)
            if self._epilogue_bytes > _MAX_EPILOGUE_BYTES:
                raise UploadRefused(400, "the multipart body goes on behind its end")
            return
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise UploadRefused(400, f"the multipart body is malformed: {error}") from None

    def finish(self) -> None:
        """The body has ended.

        Raises:
            UploadRefused: it was cut off, or there is no file in it.
        """
        if not self._is_complete:
            raise UploadRefused(400, "the multipart body has no end: the upload was cut off")
        if "file" not in self._seen:
            raise UploadRefused(422, "the form has no part 'file' with the project as a zip archive")

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = self._header_value.decode("latin-1")
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._headers.get("content-disposition", ""))
        name = parameters.get(b"name", b"").decode("utf-8", "replace")
        if name not in {"file", "options"}:
            raise UploadRefused(
                422, f"the form has a part named {shown(name)}; 'file' and 'options' are known"
            )
        if name in self._seen:
            raise UploadRefused(422, f"the form has two parts named {shown(name)}")
        if self._headers.get("content-transfer-encoding", "").strip().lower() not in _PLAIN_ENCODINGS:
            raise UploadRefused(422, f"the part {shown(name)} is encoded; send it as it is")
        self._seen.add(name)
        self._part = name

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "file":
            self._write_file(data[start:end])
            return
        if len(self._options) + end - start > MAX_OPTIONS_BYTES:
            raise UploadRefused(
                413, f"the part 'options' has more than the {MAX_OPTIONS_BYTES} bytes allowed"
            )
        self._options += data[start:end]

    def _on_part_end(self) -> None:
        if self._part == "options":
            self.options = bytes(self._options)

    def _on_end(self) -> None:
        self._is_complete = True


def _boundary(content_type: str | None) -> bytes:
    media_type, parameters = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        raise UploadRefused(415, "a submission is sent as multipart/form-data")
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise UploadRefused(400, "the Content-Type of the multipart body names no boundary")
    return boundary
