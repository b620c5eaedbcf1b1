"""The node's parameters: name, default, meaning, range and when each may change."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, fields
from typing import Any

from panosam2_ros.geometry.perspective_view import LARGEST_FOV
from panosam2_ros.memory.memory_header import MAX_LABEL_LENGTH
from panosam2_ros.prompts.limits import MAX_POINTS
from panosam2_ros.tracking.config import VIEW_CHOICES


class Change(enum.Enum):
    """When a parameter may be changed."""

    LIVE = "takes effect at once"
    UNCONFIGURED = "can be set while the node is unconfigured"
    START = "is fixed once the node runs"


def _declared(
    default: Any,
    description: str,
    change: Change,
    *,
    span: tuple[float, float] | None = None,  # both included
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {"description": description, "change": change, "span": span, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Parameters:
    """A snapshot of all parameters."""

    autostart: bool = _declared(True, "configure and activate by itself", Change.START)
    model: str = _declared(
        "panosam2_mobile",
        "panosam2_mobile, panosam2_nano, an official sam2.1_hiera_* or edgetam, or path of a weights file",
        Change.UNCONFIGURED,
    )
    device: str = _declared("auto", "auto, cpu, cuda or cuda:N", Change.UNCONFIGURED)
    precision: str = _declared(
        "auto",
        "float32; bfloat16: autocast; auto: bfloat16 where the device multiplies it in hardware and the "
        "network is not a small one",
        Change.UNCONFIGURED,
        choices=("auto", "float32", "bfloat16"),
    )
    adapters: str = _declared(
        "",
        "path of PanoSAM2's learned parts for an official network; empty: none, they change nothing then",
        Change.UNCONFIGURED,
    )
    view: str = _declared(
        "auto",
        "what the network sees: regions (a search region round each object), panorama, or auto: what the "
        "network is made for, and for SAM 2.1 the panorama round an object wider than 120 degrees",
        Change.UNCONFIGURED,
        choices=VIEW_CHOICES,
    )
    region_size: int = _declared(
        0,
        "side of search regions, pixels, a multiple of 32 (edgetam: 256); 0: 448 for SAM 2.1, 1024 for "
        "edgetam, 160 for panosam2_mobile and panosam2_nano",
        Change.UNCONFIGURED,
        span=(0, 2048),
    )
    compile: bool = _declared(
        False,
        "compile the image encoder with torch.compile; configuring takes about a minute longer",
        Change.UNCONFIGURED,
    )
    seam_placement: bool = _declared(
        False,
        "roll the network's view so that its seam keeps away from objects; for networks that are not "
        "periodic; objects then depend on each other",
        Change.UNCONFIGURED,
    )
    num_threads: int = _declared(
        0,
        "CPU threads of the model; 0: one for panosam2_mobile and panosam2_nano, torch's choice for others",
        Change.UNCONFIGURED,
        span=(0, 1024),
    )
    image_transport: str = _declared(
        "raw",
        "raw: sensor_msgs/Image on image; compressed: sensor_msgs/CompressedImage (jpeg, png, or a video as "
        "h264 or hevc) on image/compressed; ffmpeg: ffmpeg_image_transport_msgs/FFMPEGPacket on "
        "image/ffmpeg; foxglove: foxglove_msgs/CompressedVideo on image/foxglove",
        Change.UNCONFIGURED,
        choices=("raw", "compressed", "ffmpeg", "foxglove"),
    )
    projection: str = _declared(
        "equirectangular",
        "of the images; dual_fisheye: two fisheye circles, which become a panorama first, see ~/panorama",
        Change.UNCONFIGURED,
        choices=("equirectangular", "dual_fisheye"),
    )
    fisheye_calibration: str = _declared(
        "",
        "path of the lenses' calibration, as config/dual_fisheye.yaml; empty: two lenses of 190 degrees, "
        "beside each other, the front one left",
        Change.UNCONFIGURED,
    )
    panorama_width: int = _declared(
        0, "columns of panoramas made of fisheye images; 0: the image's", Change.UNCONFIGURED, span=(0, 16384)
    )
    vertical_fov: float = _declared(
        math.pi,
        "vertical field of view, rad, symmetric about the horizon; pi: a full sphere",
        Change.UNCONFIGURED,
        span=(0.1, math.pi),
    )
    max_objects: int = _declared(
        32, "objects that can be tracked at once", Change.UNCONFIGURED, span=(1, 65535)
    )
    mask_width: int = _declared(
        0,
        "columns of ~/masks, to spare time and bandwidth with large panoramas, from 64; 0: the image's",
        Change.UNCONFIGURED,
        span=(0, 16384),
    )
    refine_boundaries: bool = _declared(
        True,
        "refine the boundaries of panosam2_nano's masks at the camera's resolution; takes 6 or 7 ms for each "
        "object",
        Change.UNCONFIGURED,
    )
    camera_motion: bool = _declared(
        True,
        "estimate the camera's rotation from the images, so that objects out of sight are expected where "
        "they are after it",
        Change.UNCONFIGURED,
    )
    min_island: float = _declared(
        0.25,
        "smaller parts of a mask are dropped below this share of the solid angle of its largest; 0: none",
        Change.UNCONFIGURED,
        span=(0.0, 1.0),
    )
    island_reach: float = _declared(
        0.1,
        "rad; for min_island a part of the mask counts less the farther it is from where the object should "
        "be: 0.61 of its size at this distance; 0: distance does not matter",
        Change.UNCONFIGURED,
        span=(0.0, math.pi),
    )
    max_hole: float = _declared(
        0.0,
        "holes are filled up to this share of the solid angle of the mask; 0: none",
        Change.UNCONFIGURED,
        span=(0.0, 1.0),
    )
    appear_score: float = _declared(
        0.5,
        "score from which an object that was not seen counts as visible",
        Change.UNCONFIGURED,
        span=(0.0, 1.0),
    )
    disappear_score: float = _declared(
        0.5,
        "score down to which a visible object stays so, at most appear_score",
        Change.UNCONFIGURED,
        span=(0.0, 1.0),
    )
    velocity_smoothing: float = _declared(
        0.1, "s, time constant of the angular velocity; 0: none", Change.UNCONFIGURED, span=(0.0, 60.0)
    )
    lost_after: float = _declared(
        3.0, "s unseen until an occluded object is lost", Change.UNCONFIGURED, span=(0.0, 3600.0)
    )
    search_budget: float = _declared(
        0.1,
        "s by which lost objects may lengthen the tracking of an image, by what views of the panorama cost "
        "lately: they take turns, and at the latest every fourth image one is looked for whatever it takes; "
        "0: at most 4 are searched elsewhere in an image, and all are looked for",
        Change.UNCONFIGURED,
        span=(0.0, 10.0),
    )
    bond_heartbeat_period: float = _declared(
        0.1,
        "s between heartbeats for nav2's lifecycle manager while the node is active, where package bond is "
        "installed; 0: none",
        Change.UNCONFIGURED,
        span=(0.0, 2.0),
    )
    call_timeout: float = _declared(
        30.0,
        "s after which a service call that the tracker has not finished is answered, with BUSY, or with "
        "INTERNAL where it has begun",
        Change.LIVE,
        span=(1.0, 3600.0),
    )
    prompt_queue: int = _declared(
        16, "service calls that may wait for the tracker", Change.UNCONFIGURED, span=(1, 1000)
    )
    max_prompts: int = _declared(64, "prompts that one request may hold", Change.LIVE, span=(1, 1000))
    max_points: int = _declared(
        100, "points and directions that one prompt may hold", Change.LIVE, span=(1, MAX_POINTS)
    )
    max_label_length: int = _declared(
        200, "characters that a label may have", Change.LIVE, span=(1, MAX_LABEL_LENGTH)
    )
    max_image_mpixels: float = _declared(
        100.0,
        "millions of pixels that an image may have; larger ones are refused before they are decoded",
        Change.UNCONFIGURED,
        span=(0.001, 4000.0),
    )
    frame_convention: str = _declared(
        "auto",
        "axes of header.frame_id: optical (z forward, x right, y down), body (x forward, y left, "
        "z up); auto: optical where the frame id ends in _optical or _optical_frame, else body",
        Change.LIVE,
        choices=("auto", "optical", "body"),
    )
    camera_roll: float = _declared(
        0.0,
        "rad, the camera's roll in its frame, about x forward",
        Change.LIVE,
        span=(-math.pi, math.pi),
    )
    camera_pitch: float = _declared(
        0.0, "rad, its pitch, about y left: positive looks down", Change.LIVE, span=(-math.pi, math.pi)
    )
    camera_yaw: float = _declared(
        0.0, "rad, its yaw, about z up: positive looks left", Change.LIVE, span=(-math.pi, math.pi)
    )
    target_frame: str = _declared(
        "",
        "frame of all directions that are published and answered, by tf2; empty, without tf2 or without a "
        "transform at the image's stamp: the image's frame",
        Change.UNCONFIGURED,
    )
    transform_timeout: float = _declared(
        0.1,
        "s for which the results of an image, and the next image with them, wait for its transform to "
        "target_frame, where that is late",
        Change.UNCONFIGURED,
        span=(0.0, 2.0),
    )
    target_frame_only: bool = _declared(
        False,
        "publish no bearings for an image without a transform to target_frame, rather than in its own frame",
        Change.UNCONFIGURED,
    )
    history_seconds: float = _declared(
        4.0, "s of images that are kept for prompts at their stamp", Change.LIVE, span=(0.0, 600.0)
    )
    history_mib: float = _declared(512.0, "MiB that these images may hold", Change.LIVE, span=(0.0, 65536.0))
    replay_every: int = _declared(
        3,
        "an object that was prompted on an older image is tracked to the newest through every n-th "
        "of the images that are kept",
        Change.UNCONFIGURED,
        span=(1, 1000),
    )
    detection_classes: str = _declared(
        "",
        "classes of ~/detections_in that become objects, separated by commas; empty: all",
        Change.LIVE,
    )
    detection_score: float = _declared(
        0.5, "score that a box of ~/detections_in needs at least", Change.LIVE, span=(0.0, 1.0)
    )
    detection_overlap: float = _declared(
        0.3,
        "intersection over union on the sphere from which on a box is the same thing as a known object, or "
        "as another box",
        Change.LIVE,
        span=(0.05, 0.95),
    )
    detection_rate: float = _declared(
        2.0,
        "objects per second that ~/detections_in may make; 0: none, its boxes are ignored",
        Change.LIVE,
        span=(0.0, 100.0),
    )
    detection_fov: float = _declared(
        0.0,
        "rad, horizontal field of view of the perspective view of the panorama in which the boxes are; 0: "
        "they are in the panorama itself",
        Change.LIVE,
        span=(0.0, LARGEST_FOV),
    )
    detection_azimuth: float = _declared(
        0.0,
        "rad, of that view's middle from the middle of the panorama, positive to the left",
        Change.LIVE,
        span=(-math.pi, math.pi),
    )
    detection_elevation: float = _declared(
        0.0,
        "rad, of that view's middle, positive upwards",
        Change.LIVE,
        span=(-math.pi / 2, math.pi / 2),
    )
    detection_width: int = _declared(
        0,
        "columns of the image in which the boxes are; 0: those of the panorama",
        Change.LIVE,
        span=(0, 16384),
    )
    detection_height: int = _declared(
        0, "rows of that image; 0: those of the panorama", Change.LIVE, span=(0, 16384)
    )
    memory_directory: str = _declared(
        "~/.ros/panosam2",
        "folder of all memory files; services name files inside it",
        Change.UNCONFIGURED,
    )
    memory_file: str = _declared(
        "",
        "file in memory_directory that is restored when the node is configured, and saved every "
        "save_interval, when it is deactivated and when it ends; empty: none",
        Change.UNCONFIGURED,
    )
    save_interval: float = _declared(
        10.0, "s between savings of memory_file; 0: only at the end", Change.UNCONFIGURED, span=(0.0, 86400.0)
    )
    click_label: str = _declared("clicked", "label of the objects that ~/clicked_point prompts", Change.LIVE)
    overlay_width: int = _declared(
        1280,
        "columns of ~/overlay at most, which bounds its cost, from 64; 0: the image's",
        Change.LIVE,
        span=(0, 16384),
    )
    sphere_radius: float = _declared(
        2.0,
        "m, radius of the sphere in ~/mask_cloud and length of the arrows in ~/markers",
        Change.LIVE,
        span=(0.01, 10_000.0),
    )
    cloud_width: int = _declared(
        512,
        "points of ~/mask_cloud round the horizon; 512 are 83,000 in all, 1.7 MB",
        Change.LIVE,
        span=(64, 4096),
    )
    image_timeout: float = _declared(
        3.0, "s without images until /diagnostics warns", Change.LIVE, span=(0.1, 3600.0)
    )
    image_timeout_error: float = _declared(
        30.0, "s without images until that is an error; 0: never", Change.LIVE, span=(0.0, 86400.0)
    )
    result_timeout: float = _declared(
        3.0,
        "s for which an image or call may wait for a result, at least 5 times as long as usual, until "
        "/diagnostics warns",
        Change.LIVE,
        span=(0.1, 3600.0),
    )
    result_timeout_error: float = _declared(
        10.0,
        "s for which it may wait, at least 10 times as long as usual, until that is an error; 0: never",
        Change.LIVE,
        span=(0.0, 86400.0),
    )
    restart_after: float = _declared(
        120.0,
        "s without a result, at least 10 times as long as usual, after which inference counts as hanging: "
        "its thread is left behind and the tracker is built anew from what was remembered last; 0: never",
        Change.LIVE,
        span=(0.0, 86400.0),
    )
    loss_warning: float = _declared(
        0.05, "share of images lost on the way above which it warns; 0: never", Change.LIVE, span=(0.0, 1.0)
    )
    loss_error: float = _declared(
        0.5, "share above which that is an error; 0: never", Change.LIVE, span=(0.0, 1.0)
    )
    latency_warning: float = _declared(
        1.0, "s from stamp to results (p95) above which it warns; 0: never", Change.LIVE, span=(0.0, 3600.0)
    )
    latency_error: float = _declared(
        0.0, "s above which that is an error; 0: never", Change.LIVE, span=(0.0, 3600.0)
    )
    rate_warning: float = _declared(
        0.0, "images processed per s below which it warns; 0: never", Change.LIVE, span=(0.0, 1000.0)
    )
    rate_error: float = _declared(
        0.0, "images per s below which that is an error; 0: never", Change.LIVE, span=(0.0, 1000.0)
    )
    error_stays: float = _declared(
        5.0, "s for which the last error shows as the level of /diagnostics", Change.LIVE, span=(0.0, 3600.0)
    )
    diagnostics_period: float = _declared(
        1.0, "s between messages on /diagnostics", Change.LIVE, span=(0.05, 60.0)
    )


def described_parameters() -> dict[str, tuple[Any, str]]:
    """Return default and meaning of every parameter, by name."""
    return {item.name: (item.default, item.metadata["description"]) for item in fields(Parameters)}
