"""``python -m panosam2_ros.programs PARENT MODULE ARGUMENT...``: run a module as ``python -m MODULE`` does.

SIGTERM ends it where its parent, the process PARENT, has ended, also where that was killed (on Linux).
"""

import ctypes
import os
import runpy
import signal
import sys

from panosam2_ros.programs.start import die_of_interrupts

_PR_SET_PDEATHSIG = 1


def end_with_parent_process(parent: int) -> None:
    """Have Linux send SIGTERM to this process as soon as its parent ends, which may have happened."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)


die_of_interrupts()
end_with_parent_process(int(sys.argv.pop(1)))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
