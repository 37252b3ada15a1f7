"""Where packages come from and in which form: pip's options, from its configuration file and from
requirements files, and their translation for uv. Pure.

Addresses may hold passwords: they only ever go into the requirements file on the container's tmpfs,
never into an argument, a label or the environment of a container.
"""

import configparser
import re
from dataclasses import dataclass, field, replace

from ci_common.bundle_paths import shown
from ci_common.errors import InvalidInput
from ci_controller.requirement_lines import Line

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|file:", re.IGNORECASE)
_TRUE = frozenset({"1", "y", "yes", "t", "true", "on"})
_FALSE = frozenset({"0", "n", "no", "f", "false", "off"})


DEFAULT_INDEX = ""
"""In a list of indexes: the one that installers use where none is named."""


@dataclass(frozen=True, slots=True)
class PackageSources:
    """pip's settings of package finding; what is empty is pip's default."""

    index_urls: tuple[str, ...] = field(default=(), repr=False)
    """The main index first; empty: PyPI, unless `no_index`."""
    no_index: bool = False
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_binary: tuple[str, ...] = ()
    only_binary: tuple[str, ...] = ()
    prereleases: bool = False
    require_hashes: bool = False
    trusted_hosts: tuple[str, ...] = ()
    proxy: str | None = field(default=None, repr=False)
    timeout_seconds: int | None = None

    def with_line(self, line: Line, find_links: tuple[str, ...]) -> "PackageSources":
        """After a line of a requirements file; `find_links` are the line's, resolved."""
        no_index = self.no_index or line.no_index
        index_urls = self.index_urls
        if line.no_index:
            index_urls = ()
        if line.index_url is not None and not no_index:
            index_urls = (line.index_url,)
        if not no_index:
            index_urls = _with_extra(index_urls, line.extra_index_urls)
        return replace(
            self,
            index_urls=index_urls,
            no_index=no_index,
            find_links=self.find_links + find_links,
            no_binary=self.no_binary + _split(line.no_binary),
            only_binary=self.only_binary + _split(line.only_binary),
            prereleases=self.prereleases or line.prereleases,
            require_hashes=self.require_hashes or line.require_hashes or bool(line.hashes),
            trusted_hosts=self.trusted_hosts + line.trusted_hosts,
        )

    def without_hashes(self) -> "PackageSources":
        """The same, for what can bear no hash."""
        return replace(self, require_hashes=False)

    def requirement_lines(self) -> tuple[str, ...]:
        """What a requirements file for uv begins with."""
        lines: list[str] = []
        if self.no_index:
            lines.append("--no-index")
        for position, url in enumerate(self.index_urls):
            if url != DEFAULT_INDEX:
                lines.append(f"{'--extra-index-url' if position else '--index-url'} {url}")
        lines.extend(f"--find-links {location}" for location in self.find_links)
        lines.extend(f"--no-binary {name}" for name in self.no_binary)
        lines.extend(f"--only-binary {name}" for name in self.only_binary)
        return tuple(lines)

    def arguments(self) -> tuple[str, ...]:
        """Arguments for uv that a requirements file can't bear; none is secret."""
        arguments: list[str] = []
        if self.prereleases:
            arguments += ["--prerelease", "allow"]
        if self.require_hashes:
            arguments.append("--require-hashes")
        for host in self.trusted_hosts:
            arguments += ["--allow-insecure-host", host]
        return tuple(arguments)

    def environment(self) -> dict[str, str]:
        """Variables for uv's process."""
        variables: dict[str, str] = {}
        if self.proxy is not None:
            variables |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), self.proxy)
        if self.timeout_seconds is not None:
            variables["UV_HTTP_TIMEOUT"] = str(self.timeout_seconds)
        return variables


def _with_extra(index_urls: tuple[str, ...], extra: tuple[str, ...]) -> tuple[str, ...]:
    # The first of the list is the main index, so the default one has its place once something stands behind.
    return (*(index_urls or (DEFAULT_INDEX,)), *extra) if extra else index_urls


def parse_pip_conf(text: str) -> PackageSources:
    """The settings of a `pip.conf`, as `pip install` reads them; what else stands there has no effect.

    Raises:
        InvalidInput: it is not one.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text, "pip.conf")
    except configparser.Error as error:
        raise InvalidInput(f"the pip configuration can't be read: {error}") from None
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    no_index = _flag(found, "no-index")
    index_urls = (found["index-url"].strip(),) if found.get("index-url", "").strip() else ()
    return PackageSources(
        index_urls=() if no_index else _with_extra(index_urls, _words(found, "extra-index-url")),
        no_index=no_index,
        find_links=tuple(_location(word) for word in _words(found, "find-links")),
        no_binary=_names(found, "no-binary"),
        only_binary=_names(found, "only-binary"),
        prereleases=_flag(found, "pre"),
        require_hashes=_flag(found, "require-hashes"),
        trusted_hosts=_words(found, "trusted-host"),
        proxy=found.get("proxy", "").strip() or None,
        timeout_seconds=_seconds(found, "timeout"),
    )


def _split(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _words(found: dict[str, str], name: str) -> tuple[str, ...]:
    return tuple(found.get(name, "").split())


def _names(found: dict[str, str], name: str) -> tuple[str, ...]:
    return _split(tuple(found.get(name, "").split()))


def _location(word: str) -> str:
    if _SCHEME.match(word) or word.startswith("/"):
        return word
    raise InvalidInput(
        f"find-links {shown(word)} in the pip configuration is neither a URL nor an absolute path"
    )


def _flag(found: dict[str, str], name: str) -> bool:
    value = found.get(name, "no").strip().lower()
    if value not in _TRUE | _FALSE:
        raise InvalidInput(f"{name} in the pip configuration is {shown(value)}, neither yes nor no")
    return value in _TRUE


def _seconds(found: dict[str, str], name: str) -> int | None:
    value = found.get(name, "").strip()
    if not value:
        return None
    try:
        return max(1, round(float(value)))
    except (ValueError, OverflowError):
        raise InvalidInput(f"{name} in the pip configuration is {shown(value)}, no number") from None
