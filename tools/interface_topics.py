"""The topics and services of the nodes, for docs/interface.md; a test compares them with running nodes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a node does with a topic or service."""

    SUBSCRIBES = "in"
    PUBLISHES = "out"
    SERVES = "service"


@dataclass(frozen=True)
class Endpoint:
    """A topic or service of a node."""

    role: Role
    name: str
    types: tuple[str, ...]  # package/Type; several where a parameter chooses
    meaning: str
    depth: int  # of the history, messages
    best_effort: bool = False
    kept: bool = False  # transient local: late subscribers get the last one
    needs: str = ""  # package without which it is left out
    overridable: bool = False  # its QoS, by parameters qos_overrides

    @property
    def qos(self) -> str:
        """The quality of service in words."""
        reliability = "best effort" if self.best_effort else "reliable"
        return f"{reliability}, last {self.depth}" + ", transient local" * self.kept


_IN, _OUT, _SERVICE = Role.SUBSCRIBES, Role.PUBLISHES, Role.SERVES
_IMAGE, _BEARINGS = ("sensor_msgs/Image",), ("panosam2_ros/ObjectBearingArray",)
_DIAGNOSTICS = ("diagnostic_msgs/DiagnosticArray",)


def _service(name: str, kind: str, meaning: str) -> Endpoint:
    return Endpoint(_SERVICE, f"~/{name}", (kind,), meaning, 64)


PANOSAM2 = (
    Endpoint(
        _IN,
        "image",
        _IMAGE,
        "the camera; with `image_transport: raw`. The newest image replaces one that waits",
        1,
        best_effort=True,
        overridable=True,
    ),
    Endpoint(
        _IN,
        "image/compressed",
        ("sensor_msgs/CompressedImage",),
        "with `image_transport: compressed`: jpeg or png; or a video (h264, hevc), with the QoS of the "
        "next two rows",
        1,
        best_effort=True,
        overridable=True,
    ),
    Endpoint(
        _IN,
        "image/ffmpeg",
        ("ffmpeg_image_transport_msgs/FFMPEGPacket",),
        "with `image_transport: ffmpeg`; best effort where a publisher is",
        60,
        needs="ffmpeg_image_transport_msgs",
        overridable=True,
    ),
    Endpoint(
        _IN,
        "image/foxglove",
        ("foxglove_msgs/CompressedVideo",),
        "with `image_transport: foxglove`; best effort where a publisher is",
        60,
        needs="foxglove_msgs",
        overridable=True,
    ),
    Endpoint(
        _IN,
        "~/clicked_point",
        ("geometry_msgs/PointStamped",),
        "prompts the object in that direction, on the newest image, as a new one; RViz: *Publish Point*",
        5,
    ),
    Endpoint(
        _IN,
        "~/detections_in",
        ("vision_msgs/Detection2DArray",),
        "[boxes of a detector](detections.md): those that no known object explains become objects",
        5,
        best_effort=True,
        needs="vision_msgs",
        overridable=True,
    ),
    Endpoint(
        _OUT,
        "~/masks",
        _IMAGE,
        "mono16 label image: the value of a pixel is the object's id, 0: none",
        5,
        overridable=True,
    ),
    Endpoint(
        _OUT,
        "~/bearings",
        _BEARINGS,
        "every known object, for every image; `header.frame_id` names the frame of the directions",
        5,
        overridable=True,
    ),
    Endpoint(
        _OUT, "~/panorama", _IMAGE, "rgb8, the panorama to which prompts and masks refer", 5, overridable=True
    ),
    Endpoint(_OUT, "~/overlay", _IMAGE, "rgb8 picture: masks, id, label, score, state, azimuth grid", 2),
    Endpoint(_OUT, "~/overlay/compressed", ("sensor_msgs/CompressedImage",), "the same as jpeg", 2),
    Endpoint(
        _OUT,
        "~/markers",
        ("visualization_msgs/MarkerArray",),
        "per object an arrow, the cone of its extent, the ellipse of 95 %, text",
        2,
    ),
    Endpoint(
        _OUT,
        "~/mask_cloud",
        ("sensor_msgs/PointCloud2",),
        "the panorama as points on a sphere: x, y, z, rgb, id",
        2,
    ),
    Endpoint(
        _OUT,
        "~/detections",
        ("vision_msgs/Detection2DArray",),
        "boxes of the visible objects; columns are modulo the image's width",
        2,
        needs="vision_msgs",
    ),
    Endpoint(
        _OUT,
        "~/label_info",
        ("vision_msgs/LabelInfo",),
        "labels of the values of `~/masks`",
        1,
        kept=True,
        needs="vision_msgs",
    ),
    Endpoint(_OUT, "bond", ("bond/Status",), "heartbeats for nav2's lifecycle manager", 5, needs="bond"),
    Endpoint(_OUT, "/diagnostics", _DIAGNOSTICS, "[state, rates, problems](diagnostics.md)", 10),
    _service(
        "prompt",
        "panosam2_ros/PromptObjects",
        "new objects or corrections, on the newest image or on a recent one by its stamp",
    ),
    _service("remove_objects", "panosam2_ros/RemoveObjects", "forgets objects; their ids are not used again"),
    _service(
        "get_objects",
        "panosam2_ros/GetObjects",
        "every known object as of the newest image, size of the memory, limit",
    ),
    _service("reset", "std_srvs/Trigger", "forgets all objects and begins a new epoch"),
    _service(
        "save_memory", "panosam2_ros/SaveMemory", "writes what is remembered to a file in `memory_directory`"
    ),
    _service("load_memory", "panosam2_ros/LoadMemory", "forgets everything and restores such a file"),
)

PLACES = (
    Endpoint(_IN, "bearings", _BEARINGS, "`~/bearings` of `panosam2`", 5, overridable=True),
    Endpoint(_IN, "masks", _IMAGE, "`~/masks` of `panosam2`", 5, overridable=True),
    Endpoint(
        _IN,
        "points",
        ("sensor_msgs/PointCloud2",),
        "of a lidar: x, y, z, in any layout",
        2,
        best_effort=True,
        overridable=True,
    ),
    Endpoint(
        _IN,
        "depth",
        _IMAGE,
        "depth panorama, 32FC1 (m) or 16UC1 (mm): distance along each pixel's ray",
        2,
        best_effort=True,
        overridable=True,
    ),
    Endpoint(
        _OUT,
        "~/objects_3d",
        ("vision_msgs/Detection3DArray",),
        "every visible object that could be placed ([fields](places.md))",
        5,
        needs="vision_msgs",
        overridable=True,
    ),
    Endpoint(
        _OUT,
        "~/object_points",
        ("sensor_msgs/PointCloud2",),
        "the objects' own points: x, y, z, id",
        5,
        overridable=True,
    ),
    Endpoint(
        _OUT,
        "/tf",
        ("tf2_msgs/TFMessage",),
        "a frame `object_ID` per placed object, with `publish_tf`",
        100,
        needs="tf2_ros",
    ),
    Endpoint(
        _OUT,
        "/diagnostics",
        _DIAGNOSTICS,
        "how many objects were placed by what, and why others were not",
        10,
    ),
)

WEB = (
    Endpoint(
        _IN,
        "panosam2/panorama",
        _IMAGE,
        "`~/panorama` of the node that `tracker` names, while a page is open",
        1,
    ),
    Endpoint(_IN, "panosam2/masks", _IMAGE, "its `~/masks`, as above", 1),
    Endpoint(_IN, "panosam2/bearings", _BEARINGS, "its `~/bearings`, as above", 1),
    Endpoint(_IN, "/diagnostics", _DIAGNOSTICS, "what that node reports, for the page", 10),
    Endpoint(_OUT, "/diagnostics", _DIAGNOSTICS, "browsers, frames sent and replaced, the last error", 10),
)
NODES = {"panosam2": PANOSAM2, "panosam2_places": PLACES, "panosam2_web": WEB}
