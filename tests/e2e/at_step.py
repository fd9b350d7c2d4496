"""Run the command line and do something at a named step: `python at_step.py STEP kill|FILE ARGUMENTS...`.

kill: SIGKILL to this process, as a machine that dies. FILE: write FILE.reached and wait until FILE is there.
STEP `-`: print every step's name on stdout and do nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from polyexpose_spark import cli


def main(step: str, what: str, arguments: list[str]) -> int:
    """Run, and act at the step."""
    progress = cli.Progress()

    def told(name: str, detail: str) -> None:
        progress(name, detail)
        if step == "-":
            print(f"step {name}", flush=True)
        elif name == step and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif name == step:
            Path(f"{what}.reached").touch()
            while not Path(what).exists():
                time.sleep(0.05)

    return cli.main(arguments, told)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
