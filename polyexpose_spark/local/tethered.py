"""Run a module for no longer than its starter lives: ``python -m polyexpose_spark.local.tethered FILE MODULE ARGS...``.

The starter keeps the other end of standard input open; the system closes it however the starter ends, kill -9
included. `FILE` is locked by this process and holds its id, so that a later start can tell what is still there.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

from polyexpose_spark.errors import ExitCode, TargetUnavailable
from polyexpose_spark.local.held import Held

# To end in good order; a server that hangs must not outlive its starter for ever.
_STOP_SECONDS = 10.0


def _end_with_starter() -> None:
    # Signals for this process are the main thread's, which waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_SECONDS)
    os._exit(int(ExitCode.UNAVAILABLE))


def main() -> int:
    """Take the file, watch the starter, become the module."""
    file, module, *arguments = sys.argv[1:]
    try:
        Held.take(Path(file), {}, seconds=1.0)
    except TargetUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    threading.Thread(target=_end_with_starter, name="starter", daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return int(ExitCode.DONE)


if __name__ == "__main__":
    sys.exit(main())
