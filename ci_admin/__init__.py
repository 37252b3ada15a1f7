"""The administrator's command, `ci-admin`: thin commands over the repository.

Nothing is decided here that another room must agree with. Of `ci_controller` only images, clean-up
and the engine's state are used, and imported late: users and keys need no engine.
"""
