"""The `ci` command: what a user runs in a project. Knows the server by HTTP alone."""
