"""What packets of H.264 and HEVC say of themselves: key frames, parameter sets, sizes, and gaps between them.

Ours, because FFmpeg conceals a packet of H.264 that was lost without a word, and tells a picture's size only
after it was decoded. Only the first bits of headers are read, up to the first slice of a packet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# by what formats and encoders are called: libx264, h264_nvenc, H.265, hevc_vaapi, libsvtav1, libvpx-vp9
_CODEC_NAMES = {
    "h264": r"h\.?264|x264|avc",
    "hevc": r"h\.?265|x265|hevc",
    "av1": r"av1",
    "vp9": r"vp9",
    "vp8": r"vp8|libvpx",
}
STREAM_CODECS = tuple(_CODEC_NAMES)
INSPECTED = ("h264", "hevc")
_START_CODE = b"\0\0\1"
_MOST_HEADER = 512  # bytes of a parameter set or of a slice's header that are read
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_RECOVERY_POINT = 6  # SEI of H.264: decoding can begin here, in streams without IDR pictures, too
_MOST_SETS = 32  # parameter sets that are kept: ids of H.264 are below 32


def codec_of(name: str) -> str:
    """Return FFmpeg's name of the codec that a format or an encoder names; empty for what is no video."""
    first = name.lower().partition(";")[0]  # ffmpeg_image_transport appends formats of pixels
    return next((codec for codec, known in _CODEC_NAMES.items() if re.search(known, first)), "")


@dataclass(frozen=True)
class PacketContent:
    """What is known of a packet before it is decoded."""

    picture: bool  # it has one, not only parameter sets
    key_frame: bool  # decoding can begin with it
    parameters: bool = True  # decoding has all that it needs of earlier packets or of this one
    gap: bool = False  # a picture that this one may need is missing before it
    size: tuple[int, int] | None = None  # width, height, where the packet states them


UNKNOWN_CONTENT = PacketContent(picture=True, key_frame=True)  # of codecs whose decoders judge by themselves


class PacketInspector:
    """Reads the packets of one stream in their order, as far as they are not damaged."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._sequences: dict[int, _Sequence] = {}  # parameter sets of H.264, by their ids
        self._pictures: dict[int, int] = {}  # sequence of a picture's parameter set
        self._has_parameters = codec not in INSPECTED
        self._reference: int | None = None  # frame number of the last picture that others refer to

    def inspect(self, data: bytes) -> PacketContent:
        """Read a packet; raise ValueError for bytes that are no packet of this codec."""
        if self._codec not in INSPECTED:
            return UNKNOWN_CONTENT
        if not data[:64].lstrip(b"\0").startswith(b"\1") or not data.startswith(b"\0\0"):
            raise ValueError(
                f"it has no start code, as Annex B of {self._codec} needs: set the encoder to a byte stream "
                "(GStreamer: stream-format=byte-stream, FFmpeg: -bsf:v h264_mp4toannexb)"
            )
        return self._h264(data) if self._codec == "h264" else self._hevc(data)

    def forget_pictures(self) -> None:
        """Expect no number of the next picture: the decoder begins anew."""
        self._reference = None

    def _h264(self, data: bytes) -> PacketContent:
        key, size = False, None
        for unit in _units(data):
            kind, reference = unit[0] & 31, unit[0] >> 5 & 3
            try:
                if kind == 7:
                    key, size = True, self._sequence(_Bits(unit[1:]))
                elif kind == 8:
                    self._picture(_Bits(unit[1:]))
                elif kind == 6:
                    key = key or _is_recovery_point(unit[1:])
                elif kind in (1, 2, 5):
                    gap = self._gap(_Bits(unit[1:]), idr=kind == 5, reference=reference > 0)
                    return PacketContent(True, key or kind == 5, self._has_parameters, gap, size)
            except (IndexError, ValueError):  # damaged; the decoder says so where it matters
                continue
        return PacketContent(False, False, self._has_parameters, size=size)

    def _sequence(self, bits: _Bits) -> tuple[int, int]:
        """Keep a sequence parameter set of H.264; return the size of its pictures."""
        number, found = _read_sequence(bits)
        if len(self._sequences) < _MOST_SETS:
            self._sequences[number] = found
        self._has_parameters = True
        return found.size

    def _picture(self, bits: _Bits) -> None:
        number = bits.unsigned()
        if len(self._pictures) < 8 * _MOST_SETS:
            self._pictures[number] = bits.unsigned()

    def _gap(self, bits: _Bits, *, idr: bool, reference: bool) -> bool:
        """Read a slice's header; return whether pictures are missing before it."""
        bits.unsigned()  # first macroblock
        bits.unsigned()  # type
        sequence = self._sequences.get(self._pictures.get(bits.unsigned(), -1))
        if sequence is None:
            return False
        if sequence.separate_planes:
            bits.take(2)
        number, before = bits.take(sequence.number_bits), self._reference
        if reference:
            self._reference = number
        following = (before or 0) + 1 & (1 << sequence.number_bits) - 1
        return not (idr or before is None or sequence.gaps_allowed) and number not in (before, following)

    def _hevc(self, data: bytes) -> PacketContent:
        key, size = False, None
        for unit in _units(data):
            kind = unit[0] >> 1 & 63
            if kind == 33:
                self._has_parameters = key = True
                size = _hevc_size(unit[2:])
            elif kind < 32:
                return PacketContent(True, key or 16 <= kind <= 21, self._has_parameters, size=size)
        return PacketContent(False, False, self._has_parameters, size=size)


def is_key_frame(codec: str, data: bytes) -> bool:
    """Tell whether decoding can begin with a packet; False where that is not known."""
    if codec not in INSPECTED:
        return False
    try:
        return PacketInspector(codec).inspect(data).key_frame
    except ValueError:
        return False


@dataclass(frozen=True)
class _Sequence:
    """What a sequence parameter set of H.264 says."""

    size: tuple[int, int]
    number_bits: int  # of a frame number
    gaps_allowed: bool  # in frame numbers, by an encoder that leaves pictures out on purpose
    separate_planes: bool


class _Bits:
    """Reads the bits of a NAL unit's payload; IndexError at its end."""

    def __init__(self, payload: bytes) -> None:
        head = payload[:_MOST_HEADER].replace(b"\0\0\3", b"\0\0")  # without the bytes against start codes
        self._value, self._left = int.from_bytes(head, "big"), 8 * len(head)

    def take(self, count: int) -> int:
        """Read a number of ``count`` bits."""
        if count > self._left:
            raise IndexError("the header ends too early")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def unsigned(self) -> int:
        """Read an Exp-Golomb number."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """Read a signed Exp-Golomb number."""
        value = self.unsigned()
        return (value + 1) // 2 if value % 2 else -value // 2


def _units(data: bytes) -> Iterator[bytes]:
    """Yield the NAL units of a packet, each up to the length that is read; empty ones are left out."""
    start = data.find(_START_CODE)
    while start >= 0:
        start += len(_START_CODE)
        end = data.find(_START_CODE, start, start + _MOST_HEADER)
        unit = data[start : end if end >= 0 else start + _MOST_HEADER]
        if len(unit) > 2:
            yield unit
        start = data.find(_START_CODE, start)


def _is_recovery_point(payload: bytes) -> bool:
    """Tell whether a unit of supplemental information of H.264 has a recovery point."""
    at = 0
    while at + 2 < len(payload):
        values = []
        for _ in range(2):  # type and size, each a sum of bytes that ends below 255
            value = 0
            while payload[at] == 255:
                value, at = value + 255, at + 1
            values.append(value + payload[at])
            at += 1
        if values[0] == _RECOVERY_POINT:
            return True
        at += values[1]
    return False


def _read_sequence(bits: _Bits) -> tuple[int, _Sequence]:
    """Read a sequence parameter set of H.264 up to the size; return its id and what it says."""
    profile = bits.take(8)
    bits.take(16)  # constraints, level
    identity, chroma, separate = bits.unsigned(), 1, 0
    if profile in _HIGH_PROFILES:
        chroma = bits.unsigned()
        separate = bits.take(1) if chroma == 3 else 0
        bits.unsigned()  # depth of luma
        bits.unsigned()  # depth of chroma
        bits.take(1)
        if bits.take(1):
            _skip_scaling_lists(bits, 12 if chroma == 3 else 8)
    number_bits = bits.unsigned() + 4
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
    bits.unsigned()  # number of references
    gaps = bits.take(1)
    columns, rows = bits.unsigned() + 1, bits.unsigned() + 1
    fields = 2 - bits.take(1)
    if number_bits > 16:
        raise ValueError(f"frame numbers of {number_bits} bits")
    return identity, _Sequence((16 * columns, 16 * rows * fields), number_bits, bool(gaps), bool(separate))


def _skip_scaling_lists(bits: _Bits, count: int) -> None:
    """Read over the scaling lists of a sequence parameter set of H.264."""
    for index in range(count):
        if not bits.take(1):
            continue
        scale = 8
        for _ in range(16 if index < 6 else 64):
            scale = (scale + bits.signed()) % 256
            if scale == 0:
                break


def _hevc_size(payload: bytes) -> tuple[int, int] | None:
    """Return the size that a sequence parameter set of HEVC states; None where it cannot be read."""
    try:
        bits = _Bits(payload)
        bits.take(4)
        layers = bits.take(3)
        bits.take(1 + 88 + 8)  # nesting, general profile, level
        present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
        if layers:
            bits.take(2 * (8 - layers))
        for profile, level in present:
            bits.take(88 * profile + 8 * level)
        bits.unsigned()
        if bits.unsigned() == 3:
            bits.take(1)
        return bits.unsigned(), bits.unsigned()
    except (IndexError, ValueError):
        return None
