"""The client against real servers, as an installed command."""
