"""The calls, by their nouns; `ci_server.factory` puts them together."""
