"""A parent of worker processes that is to be killed: python -m helpers.worker_parent FOLDER.

Two workers make clips that nobody takes, as while a step of training lasts, and one of a pool waits for work.
It prints their ids, and then waits.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from helpers.tiny_training import make_batches, write_recipe
from panosam2_ros.synthetic.worker_process import end_with_parent

if __name__ == "__main__":
    with ProcessPoolExecutor(1, initializer=end_with_parent) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
        # mask prompts, which travel through the queue, fill its pipe
        masks = {"kinds": (0.0, 0.0, 1.0), "objects": 8, "workers": 2, "batch": 2, "steps": 100}
        clips = make_batches(write_recipe(Path(sys.argv[1]) / "tiny.yaml"), **masks).loader(0)
        next(clips)
        print("workers:", *(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(600)
