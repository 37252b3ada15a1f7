"""The client's parts, without a server."""
