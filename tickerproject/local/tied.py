"""Run a command that must not outlive its starter: `python tied.py SIGNAL COMMAND…`.

On Linux the kernel sends SIGNAL when the starter dies, even by `kill -9`. The wish is made here, right before the
command takes this process over, because it is lost whenever a process changes its credentials (`unshare` does).
Elsewhere the command just runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    number, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() == 1 and os.environ.get("TIED_TO") not in (None, "1"):
            sys.exit(0)  # the starter died before the wish was made
    # A background job of a shell that is not interactive ignores SIGINT, and PostgreSQL is stopped by it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
