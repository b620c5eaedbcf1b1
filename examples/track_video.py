"""Track one object through a 360 video, without ROS: print in which direction it lies, frame by frame.

    python examples/track_video.py walk.mp4 600 60 70 300

The four numbers are a box in pixels of the first frame, u_min v_min u_max v_max; u_min > u_max means that it
crosses the seam between the last and the first column.
"""

from __future__ import annotations

import math
import sys

import cv2

from panosam2_ros import PanoTracker, Prompt, TrackedFrame, build_model


def main() -> None:
    """Track the object in the box that the command line names."""
    path, *numbers = sys.argv[1:]
    u_min, v_min, u_max, v_max = (float(number) for number in numbers)
    tracker, video, index = PanoTracker(build_model()), cv2.VideoCapture(path), 0
    while True:
        read, image = video.read()
        if not read:
            break
        image, stamp = cv2.cvtColor(image, cv2.COLOR_BGR2RGB), round(index * 1e9 / 30)  # ns
        if index == 0:
            prompt = Prompt(box=(u_min, v_min, u_max, v_max), label="it")
            (outcome,) = tracker.prompt(image, stamp, [prompt])
            if not outcome.success:
                sys.exit(outcome.message)
        else:
            show(index, tracker.step(image, stamp))
        index += 1


def show(index: int, frame: TrackedFrame) -> None:
    """Print state, direction and size of every object in a frame."""
    for track in frame.tracks:
        x, y, z = track.bearing.direction  # unit vector: x right, y down, z forward
        azimuth, elevation = math.degrees(-math.atan2(x, z)), math.degrees(-math.asin(y))
        pixels = int((frame.labels == track.obj_id).sum())
        where = f"azimuth {azimuth:+.1f} deg, elevation {elevation:+.1f} deg"
        print(f"{index:4d} {track.label} {track.state.name}: {where}, {pixels} pixels")


if __name__ == "__main__":
    main()
