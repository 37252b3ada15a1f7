"""What holds for all tests, however their run was started."""

import signal

# A run in the background inherits an ignored SIGINT and would hand it on to every command under test,
# which then rightly ignores Ctrl-C. A handler of ours is the default again in whatever is started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
