"""Build a tracker and its network from parameters. Nothing here knows ROS messages."""

from __future__ import annotations

from panosam2_ros.model.build import build_model
from panosam2_ros.ros.inference.worker_state import WorkerLimits
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.motion_model import StateConfig
from panosam2_ros.tracking.tracker import PanoTracker


def build_tracker(parameters: Parameters) -> PanoTracker:
    """Build a tracker that knows no object; raise what ``build_model`` and ``TrackerConfig`` raise."""
    model = build_model(
        parameters.model,
        device=parameters.device,
        precision=parameters.precision,
        adapters=parameters.adapters,
        region_size=parameters.region_size,
        compiled=parameters.compile,
    )
    config = TrackerConfig(
        max_objects=parameters.max_objects,
        state=StateConfig(
            lost_after=parameters.lost_after,
            appear=parameters.appear_score,
            disappear=parameters.disappear_score,
            velocity_smoothing=parameters.velocity_smoothing,
        ),
        vertical_fov=parameters.vertical_fov,
        view=parameters.view,
        search_budget=parameters.search_budget,
        seam_placement=parameters.seam_placement,
        mask_width=parameters.mask_width,
        refine_boundaries=parameters.refine_boundaries,
        camera_motion=parameters.camera_motion,
        min_island=parameters.min_island,
        island_reach=parameters.island_reach,
        max_hole=parameters.max_hole,
    )
    return PanoTracker(model, config)


def worker_limits(parameters: Parameters) -> WorkerLimits:
    """Return the worker's limits."""
    return WorkerLimits(
        parameters.history_seconds,
        parameters.history_mib,
        parameters.prompt_queue,
        parameters.replay_every,
    )
