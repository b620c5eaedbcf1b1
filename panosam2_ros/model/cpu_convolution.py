"""Convolutions of small networks on CPUs, all of them by oneDNN and with weights in the order that it wants.

With one thread torch computes convolutions of 1x1 pixels by another library, and it reorders the weights of
the others in every call: the trunk of ``panosam2_mobile`` takes 1.6 times as long. What is computed differs
by rounding only. The operators are those of which torch's own compiler makes its code for CPUs; there is no
public way to keep reordered weights.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MOST_PACKED = 2  # sizes of maps for which a convolution keeps weights: regions, and the searched panorama
_OPERATORS = ("_convolution_pointwise", "_reorder_convolution_weight")
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in _OPERATORS
)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve maps [N, C, H, W] with ``weight`` [C', C, 1, 1]."""
    if not _is_for_onednn(x, weight):
        return F.conv2d(x, weight, bias)
    return _convolved(x, weight, bias, (0, 0), (1, 1), (1, 1), 1)


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN can be called: not where gradients, other types or compilers are wanted."""
    on_cpu = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.numel() > 0
    unwanted = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    return _HAS_ONEDNN and on_cpu and not unwanted


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    """Call oneDNN with padding, stride, dilation and groups, and no activation after it."""
    found: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *settings, "none", [], "")
    return found


class PackedConv2d(nn.Conv2d):
    """A convolution with the parameters of another one, which keeps them as oneDNN wants them."""

    _packed: dict[tuple[int, ...], Tensor]  # by size of the map and version of the weights

    @classmethod
    def of(cls, conv: nn.Conv2d) -> PackedConv2d:
        """Make the convolution that computes what ``conv`` computes."""
        channels, kernel = (conv.in_channels, conv.out_channels), conv.kernel_size
        settings = conv.stride, conv.padding, conv.dilation, conv.groups, conv.bias is not None
        made = cls(*channels, kernel, *settings, device="meta")  # type: ignore[arg-type]
        made.weight, made.bias, made._packed = conv.weight, conv.bias, {}
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied: packed weights cannot be."""
        return {**self.__dict__, "_packed": {}}

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps [N, C, H, W]."""
        if not _is_for_onednn(x, self.weight):
            return super().forward(x)
        ordered = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        weight = self._weight_for(x) if ordered else self.weight
        return _convolved(x, weight, self.bias, self.padding, self.stride, self.dilation, self.groups)

    def _weight_for(self, x: Tensor) -> Tensor:
        """Return the weights in the order for maps [N, C, H, W] of this size."""
        # Tensor._version, since there is no public way to tell that weights have changed
        version = 0 if self.weight.is_inference() else self.weight._version
        key = (*x.shape[2:], self.weight.data_ptr(), version)
        if key not in self._packed:
            if len(self._packed) >= _MOST_PACKED:
                self._packed.pop(next(iter(self._packed)))
            settings = [list(each) for each in (self.padding, self.stride, self.dilation)]
            size = [1, *x.shape[1:]]
            self._packed[key] = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *settings, self.groups, size
            )
        return self._packed[key]


def pack_convolutions(module: nn.Module) -> None:
    """Compute all plain convolutions inside a module as ``PackedConv2d``; names and parameters stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and child.padding_mode == "zeros":
                setattr(parent, name, PackedConv2d.of(child))
