"""Array types of images, labels and masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ImageArray = NDArray[np.uint8]  # [H, W, 3] RGB unless said otherwise
LabelImage = NDArray[np.uint16]  # [H, W] object ids, 0 = none
MaskArray = NDArray[np.bool_]  # [H, W], True is the object
