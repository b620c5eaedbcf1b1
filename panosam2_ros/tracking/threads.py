"""How many CPU threads a network and the image processing around it use."""

from __future__ import annotations

import cv2
import torch

from panosam2_ros.model.panosam2 import PanoSAM2


def use_threads(count: int, model: PanoSAM2) -> None:
    """Set the number of threads of torch and OpenCV in this process; 0: what measured best for a network.

    That is one for a small network, whose layers are too small to share: a second one makes it no faster
    on two free cores, and takes more of them. For others it is the libraries' own choice.
    """
    if count > 0 or model.is_small:
        torch.set_num_threads(count or 1)
        cv2.setNumThreads(count or 1)
