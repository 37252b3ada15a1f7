"""The words of the domain, shared by every room; imports none of them.

Frozen dataclasses, enums, pure rules and two interfaces (`JobRepository`, `BundleStore`), standard
library only, so that the client stays quick to start and every other room can depend on it.
"""
