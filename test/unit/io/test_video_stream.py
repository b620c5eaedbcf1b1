"""Streams that are decoded packet by packet: stamps, key frames, losses, damage, changes and limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.video_streams import Packet, encode, shades, units
from helpers.videos import index_of
from panosam2_ros.io.video_packets import codec_of
from panosam2_ros.io.video_stream import MAX_PACKET, StreamDecoder, StreamPicture, VideoPacket

PERIOD, START = 33_333_333, 1_700_000_000_000_000_000  # ns
COUNT = 30
STREAMS = {codec: encode(shades(COUNT), codec) for codec in ("h264", "hevc", "vp9")}
CODECS = list(STREAMS)


@dataclass
class Watched:
    """A decoder, and what it has said."""

    max_pixels: float = 1e6
    missed: list[tuple[str, int]] = field(default_factory=list)
    pictures: list[StreamPicture] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.decoder = StreamDecoder(
            max_pixels=self.max_pixels, missed=lambda reason, n: self.missed.append((reason, n))
        )

    def show(self, packets: Iterable[Packet], codec: str = "h264", **more: Any) -> Watched:
        """Decode packets that have the stamps of their frames."""
        for packet in packets:
            stamp = START + packet.index * PERIOD
            self.pictures += self.decoder.decode(VideoPacket(codec, packet.data, stamp, **more))
        return self

    def end(self) -> Watched:
        self.pictures += self.decoder.finish()
        return self

    @property
    def indices(self) -> list[int]:
        """The frames that came out, each of which must show what its stamp says."""
        found = [round((picture.stamp - START) / PERIOD) for picture in self.pictures]
        assert [index_of(picture.rgb()) for picture in self.pictures] == [index % 20 for index in found]
        return found


def without(packets: list[Packet], *places: int) -> list[Packet]:
    return [packet for place, packet in enumerate(packets) if place not in places]


def damaged(packet: Packet) -> Packet:
    """Zero the second half of a packet."""
    half = len(packet.data) // 2
    return Packet(packet.data[:half] + bytes(len(packet.data) - half), packet.index, packet.key)


@pytest.mark.parametrize("codec", CODECS)
def test_every_packet_gives_its_picture_at_once(codec: str) -> None:
    watched = Watched()
    for packet in STREAMS[codec]:
        watched.show([packet], codec)
        assert watched.indices[-1] == packet.index
    assert watched.end().indices == list(range(COUNT)) and not watched.missed
    assert watched.decoder.status.pictures == COUNT and not watched.decoder.status.text


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pictures_keep_the_stamps_of_their_packets_where_b_frames_change_the_order(codec: str) -> None:
    packets = encode(shades(COUNT), codec, b_frames=2)
    assert [packet.index for packet in packets] != list(range(COUNT))
    watched = Watched().show(packets, codec).end()
    assert watched.indices == list(range(COUNT)) and not watched.missed


def test_stamps_in_the_order_of_decoding_become_those_of_the_pictures_that_are_shown_then() -> None:
    packets = encode(shades(COUNT), b_frames=2)
    in_order = [Packet(packet.data, place, packet.key) for place, packet in enumerate(packets)]
    watched = Watched().show(in_order).end()
    stamps = [picture.stamp for picture in watched.pictures]
    assert stamps == sorted(set(stamps)) and len(stamps) >= COUNT - 1
    shown = [index_of(picture.rgb()) for picture in watched.pictures]
    late = [(stamp - START) // PERIOD for stamp in stamps]
    assert [s % 20 for s in late[3:]] == shown[3:]
    assert sum(count for _, count in watched.missed) == COUNT - len(stamps)


@pytest.mark.faults
@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_that_is_joined_in_mid_gop_begins_with_a_key_frame(codec: str) -> None:
    watched = Watched().show(STREAMS[codec][3:8], codec)
    text = watched.decoder.status.text
    assert not watched.pictures and f"the {codec} stream has waited 0." in text
    assert "for a key frame: the stream does not begin with one" in text and "a shorter GOP" in text
    watched.show(STREAMS[codec][8:], codec).end()
    assert watched.indices == list(range(10, COUNT)) and not watched.decoder.status.text
    ((reason, count),) = watched.missed
    assert count == 7 and "does not begin with one" in reason


@pytest.mark.faults
@pytest.mark.parametrize("codec", CODECS)
def test_nothing_smeared_follows_a_packet_that_is_known_to_be_lost(codec: str) -> None:
    packets = STREAMS[codec]
    watched = Watched().show(packets[:5], codec).show(packets[6:7], codec, lost=1)
    assert "packets before the one of stamp" in watched.decoder.status.text
    watched.show(packets[7:], codec).end()
    assert watched.indices == [*range(5), *range(10, COUNT)]
    assert [count for _, count in watched.missed] == [5] and watched.decoder.status.lost == 1


@pytest.mark.faults
@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("place", [1, 5, 8, 13])
def test_nothing_smeared_follows_a_packet_that_nobody_knows_to_be_lost(codec: str, place: int) -> None:
    watched = Watched().show(without(STREAMS[codec], place), codec).end()
    following = 10 * (place // 10) + 10
    assert watched.indices == [*range(place), *range(following, COUNT)]
    assert sum(count for _, count in watched.missed) in (following - place, following - place - 1)


@pytest.mark.faults
def test_pictures_before_a_loss_are_not_lost_with_it() -> None:
    packets = encode(shades(COUNT), b_frames=2)
    known = Watched().show(packets[:8]).show(packets[9:10], lost=1)
    assert set(known.indices) == {packet.index for packet in packets[:8]}


@pytest.mark.faults
@pytest.mark.parametrize("key", [False, True])
def test_a_damaged_packet_is_counted_and_the_next_key_frame_waited_for(key: bool) -> None:
    packets = list(STREAMS["h264"])
    place = 10 if key else 14
    packets[place] = damaged(packets[place])
    watched = Watched().show(packets).end()
    assert watched.indices == [*range(place), *range(20, COUNT)]
    ((reason, count),) = watched.missed
    assert count == 20 - place and "damaged" in reason and watched.decoder.status.damaged == 1


@pytest.mark.faults
def test_size_and_codec_may_change() -> None:
    watched = Watched().show(STREAMS["h264"][:5]).show(encode(shades(5, (256, 128)))).end()
    watched.show(STREAMS["hevc"][:5], "hevc").end()
    sizes = [picture.size for picture in watched.pictures]
    assert sizes == 5 * [(128, 64)] + 5 * [(256, 128)] + 5 * [(128, 64)] and not watched.missed
    assert watched.indices == 3 * list(range(5))


def test_parameter_sets_may_come_in_packets_of_their_own_and_only_once() -> None:
    watched = Watched()
    for packet in STREAMS["h264"][:20]:
        for unit in (found := units(packet.data)):
            if unit[4] & 31 in (7, 8) and packet.index == 0:
                watched.show([Packet(unit, packet.index, False)])
        rest = b"".join(unit for unit in found if unit[4] & 31 not in (7, 8))
        watched.show([Packet(rest, packet.index, packet.key)])
    assert watched.end().indices == list(range(20)) and not watched.missed


@pytest.mark.faults
def test_key_frames_without_parameter_sets_are_named_with_the_remedy() -> None:
    slices = [b"".join(u for u in units(p.data) if u[4] & 31 not in (7, 8)) for p in STREAMS["h264"][:5]]
    watched = Watched().show(Packet(data, i, i == 0) for i, data in enumerate(slices))
    assert not watched.pictures and "without parameter sets (SPS, PPS)" in watched.decoder.status.text


@pytest.mark.faults
@pytest.mark.parametrize(
    ("codec", "data", "reason"),
    [
        ("h264", b"\0\0\0\x18\x67" + 23 * b"\x80", "no start code, as Annex B of h264 needs"),  # as in mp4
        ("theora\x1b", b"\0\0\0\1\x67", "is of 'theora\\\\x1b', and known are h264, hevc"),
        ("h264", bytes(MAX_PACKET + 1), f"has more than {MAX_PACKET} bytes"),
    ],
)
def test_packets_that_are_none_are_named(codec: str, data: bytes, reason: str) -> None:
    watched = Watched().show([Packet(data, 0, True)], codec)
    assert not watched.pictures and reason in watched.decoder.status.text
    assert watched.show(STREAMS["h264"][:2]).indices == [0, 1]


@pytest.mark.faults
@pytest.mark.parametrize("codec", CODECS)
def test_too_large_pictures_are_refused_before_they_are_decoded(codec: str) -> None:
    watched = Watched(max_pixels=1000).show(STREAMS[codec], codec).end()
    assert not watched.pictures and "max_image_mpixels" in watched.decoder.status.text
    if codec != "vp9":  # whose decoder finds it
        assert "has pictures of 128x64" in watched.decoder.status.text
        assert watched.decoder._context is not None and not watched.decoder._context.is_open


_MATRICES = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 2: (0.299, 0.114)}  # BT.709, BT.601, not stated


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", list(_MATRICES))
def test_colours_are_converted_by_the_matrix_and_range_of_the_stream(matrix: int, full: bool) -> None:
    rgb = np.array([200, 60, 30])
    (kr, kb), (r, g, b) = _MATRICES[matrix], rgb / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    chroma = np.array([(b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)])
    planes = np.empty((96, 128), np.uint8)
    planes[:64] = round(255 * y) if full else round(219 * y + 16)
    planes[64:80], planes[80:] = np.round((255 if full else 224) * chroma + 128)
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 128, 64, "yuv420p", 30
    encoder.color_range, encoder.colorspace = 2 if full else 1, matrix
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.color_range, frame.colorspace = 2 if full else 1, matrix
    data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    (picture,) = Watched().show([Packet(data, 0, True)]).end().pictures
    assert np.abs(picture.rgb().reshape(-1, 3).astype(int) - rgb).max() <= 4


@st.composite
def spoiled_streams(draw: Any) -> tuple[str, list[Packet]]:
    """Draw a stream some of whose packets are cut, changed, lost, repeated or in another place."""
    codec = draw(st.sampled_from(CODECS))
    packets = list(STREAMS[codec])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(packets) - 1))
        packet = packets.pop(place)
        how = draw(st.sampled_from(["lost", "moved", "repeated", "cut", "changed"]))
        data = bytearray(packet.data)
        if how == "cut":
            data = data[: draw(st.integers(0, len(data)))]
        elif how == "changed":
            at, new = draw(st.integers(0, len(data))), draw(st.binary(min_size=1, max_size=60))
            data[at : at + len(new)] = new
        if how != "lost":
            at = draw(st.integers(0, len(packets))) if how == "moved" else place
            packets[at:at] = (2 if how == "repeated" else 1) * [Packet(bytes(data), packet.index, packet.key)]
    return codec, packets


@pytest.mark.faults
@settings(max_examples=40, deadline=None, derandomize=True)
@given(spoiled_streams())
def test_any_damage_is_survived_counted_and_over_with_a_later_key_frame(
    stream: tuple[str, list[Packet]],
) -> None:
    codec, packets = stream
    watched = Watched().show(packets, codec).end()
    stamps = {START + packet.index * PERIOD for packet in packets}
    assert {picture.stamp for picture in watched.pictures} <= stamps
    assert len(watched.pictures) <= len(packets) == watched.decoder.status.packets
    assert len(watched.decoder.status.text) < 1000 and all(len(reason) < 700 for reason, _ in watched.missed)
    watched.pictures.clear()
    later = [Packet(packet.data, packet.index + 100, packet.key) for packet in STREAMS[codec]]
    watched.show(later, codec).end()
    assert [round((picture.stamp - START) / PERIOD) for picture in watched.pictures][-20:] == list(
        range(110, 130)
    )


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("h264", "h264"), ("H.264", "h264"), ("libx264;yuv420p;bgr8;bgr8", "h264"), ("h264_nvenc", "h264"),
        ("hevc_vaapi", "hevc"), ("h265", "hevc"), ("libsvtav1", "av1"), ("libvpx-vp9", "vp9"), ("vp8", "vp8"),
        ("jpeg", ""), ("bgr8; jpeg compressed bgr8", ""), ("rgb8; png compressed ", ""), ("", ""),
    ],
)  # fmt: skip
def test_codecs_are_known_by_the_names_of_formats_and_encoders(name: str, codec: str) -> None:
    assert codec_of(name) == codec
