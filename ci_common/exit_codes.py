"""The platform's own exit codes, for whatever isn't the tests' own; BSD's and a shell's where there are such.

Constants alone: what ends early needs them before anything else is loaded.
"""

EXIT_BAD_USE = 64
EXIT_ERROR = 65
EXIT_NO_SUCH_JOB = 66
EXIT_UNREACHABLE = 69
EXIT_INTERNAL = 70
EXIT_LOST = 75
EXIT_NOT_PERMITTED = 77
EXIT_TIMED_OUT = 124
EXIT_CANCELLED = 130
EXIT_OUT_OF_MEMORY = 137
