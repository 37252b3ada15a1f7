"""Makes text from tests fit for a terminal: it may be coloured, but it can't take the terminal over. Pure.

What passes: printable characters, line feed, carriage return, backspace, tab, colours (`ESC [ … m`) and
erasing within the line (`ESC [ … K`). Every other control character is shown as a symbol, so that
titles, clipboards, queries and cursor jumps that a test prints have no effect, but can be seen.
"""

import re

RESET = "\x1b[0m"

_UNSAFE = re.compile("\x1b\\[[0-9;:]*[mK]|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_UNFINISHED = re.compile("\x1b(?:\\[[0-9;:]{0,64})?\\Z")
_COLOUR = re.compile("\x1b\\[([0-9;:]*)m")
_PLAIN = re.compile("(?:0*[;:])*0*")


def defused(text: str) -> str:
    """`text` with everything but harmless escapes made visible."""
    return _UNSAFE.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    found = match.group()
    if len(found) > 1:
        return found
    code = ord(found)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


class SafeText:
    """Defuses a text that comes in pieces, escapes being cut anywhere."""

    def __init__(self) -> None:
        self._held = ""
        self.coloured = False
        """The terminal is left with a colour or style on."""

    def feed(self, piece: str) -> str:
        """What may be written now; the beginning of an escape is held back until it is whole."""
        text = self._held + piece
        cut = _UNFINISHED.search(text)
        self._held = "" if cut is None else text[cut.start() :]
        return self._passed(text if cut is None else text[: cut.start()])

    def finish(self) -> str:
        """What was held back, and the end of any colour."""
        text = self._passed(self._held)
        self._held = ""
        if self.coloured:
            text += RESET
            self.coloured = False
        return text

    def _passed(self, text: str) -> str:
        for match in _COLOUR.finditer(text):
            self.coloured = _PLAIN.fullmatch(match.group(1)) is None
        return defused(text)
