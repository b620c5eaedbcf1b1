"""What a network has to know of objects in a frame, beside pixels and memory, in one upload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panosam2_ros.geometry.circular import roll_columns
from panosam2_ros.geometry.device_panorama import region_placement, sampled_regions
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.view import InputView, NetworkInput, SearchRegionView

_REACH, _ROLL, _STAMP, _ELSEWHERE, _OUTDATED, _PLACEMENT = range(6)


@dataclass(frozen=True, eq=False)
class StepInputs:
    """Views and states of N objects in a frame, on the network's device."""

    numbers: Tensor  # [N, _PLACEMENT or more] float64; the stamp's bits are those of an int64

    @classmethod
    def of(
        cls,
        frame: Frame,
        views: Sequence[InputView],
        network: NetworkInput,
        device: torch.device,
        *,
        elsewhere: Sequence[bool] = (),  # [N]; empty: none
        outdated: Sequence[bool] = (),
    ) -> StepInputs:
        """Upload what a step has to know; ``elsewhere`` and ``outdated`` as in ``propagate``."""
        numbers = np.zeros((len(views), _PLACEMENT))
        numbers[:, _REACH] = [view.reach for view in views]
        numbers[:, _ROLL] = [view.roll_tokens * network.stride for view in views]
        numbers[:, _STAMP] = np.array(frame.stamp, np.int64).view(np.float64)
        for column, flags in ((_ELSEWHERE, elsewhere), (_OUTDATED, outdated)):
            if len(flags):
                numbers[:, column] = flags
        if network.on_device:
            numbers = np.concatenate([numbers, _placements(frame, views, network)], 1)
        host = torch.from_numpy(numbers)
        if device.type == "cuda":
            host = host.pin_memory()
        return cls(host.to(device, non_blocking=True))

    @property
    def reach(self) -> Tensor:
        """[N] float32, of the views."""
        return self.numbers[:, _REACH].float()

    @property
    def stamp(self) -> Tensor:
        """[N] int64, ns, of the frame."""
        return self.numbers[:, _STAMP].contiguous().view(torch.int64)

    @property
    def elsewhere(self) -> Tensor:
        """[N] bool: objects that are searched in another place."""
        return self.numbers[:, _ELSEWHERE] > 0

    @property
    def outdated(self) -> Tensor:
        """[N] bool: objects whose remembered colours do not count."""
        return self.numbers[:, _OUTDATED] > 0

    def pixels(self, source: Tensor, network: NetworkInput) -> Tensor:
        """Sample what the views show, [N, 3, H, W] RGB 0..255, from what ``source_of`` gives.

        Only for networks whose views are sampled on their device.
        """
        if self.numbers.shape[1] > _PLACEMENT:
            return sampled_regions(source, self.numbers[:, _PLACEMENT:], network.width)
        count = len(self.numbers)
        return roll_columns(source.expand(count, -1, -1, -1), self.numbers[:, _ROLL].long())


def source_of(
    frame: Frame, views: Sequence[InputView], network: NetworkInput, device: torch.device
) -> Tensor:
    """Return what ``StepInputs.pixels`` samples: the pyramid, or the panorama at the network's input size."""
    panorama = frame.on(device)
    if isinstance(views[0], SearchRegionView):
        return panorama.levels
    return panorama.fitted(network.height, network.width)


def view_pixels(
    frame: Frame, views: Sequence[InputView], network: NetworkInput, device: torch.device
) -> Tensor:
    """Return what views of one kind show of a frame, [N, 3, H, W] RGB 0..255, on a device."""
    if not network.on_device:
        return torch.cat([view.pixels(frame, network) for view in views])
    inputs = StepInputs.of(frame, views, network, device)
    return inputs.pixels(source_of(frame, views, network, device), network)


def _placements(frame: Frame, views: Sequence[InputView], network: NetworkInput) -> NDArray[np.float64]:
    """Return where regions are sampled, [N, REGION_PLACEMENT]; no columns for panoramas."""
    size = (frame.grid.width, frame.grid.height)
    placed = [
        region_placement(view.region, network.width, size, vertical_fov=network.vertical_fov)
        for view in views
        if isinstance(view, SearchRegionView)
    ]
    return np.stack(placed) if placed else np.zeros((len(views), 0))
