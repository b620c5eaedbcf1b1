"""``dds_profile``: print the line without which Fast DDS loses large images.

    eval "$(ros2 run panosam2_ros dds_profile)"

runs it in the shell from which the camera's driver is started. Standard output has the line and nothing else;
what there is to say goes to standard error. Status 1: another middleware is in use, or the profile is
not installed: there is no line.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from panosam2_ros.io.package_files import package_file
from panosam2_ros.ros.dds import PROFILES_VARIABLE, profile_line

FAST_DDS = ("rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp")
_PAGE = "docs/qos.md has what other middleware needs"


def middleware(environment: Mapping[str, str] = os.environ) -> str:
    """Return the RMW implementation that programs started from this shell use."""
    if chosen := environment.get("RMW_IMPLEMENTATION"):
        return chosen
    try:
        from rclpy.utilities import get_rmw_implementation_identifier
    except ImportError:  # no ROS in this environment: the default of all distributions
        return FAST_DDS[0]
    return str(get_rmw_implementation_identifier())


def problem(used: str) -> str:
    """Return why there is no line to export with this middleware; empty: there is one."""
    if used not in FAST_DDS:
        return (
            f"{used} is in use, and the profile is for Fast DDS ({FAST_DDS[0]}): nothing to export; {_PAGE}"
        )
    try:
        package_file("config", "fastdds.xml")
    except FileNotFoundError as error:
        return str(error)
    return ""


def replaced(environment: Mapping[str, str] = os.environ) -> str:
    """Return a note about another profile that the line replaces; empty: it replaces none."""
    before, ours = environment.get(PROFILES_VARIABLE, ""), package_file("config", "fastdds.xml")
    if not before or Path(before).resolve() == ours.resolve():
        return ""
    return (
        f"{PROFILES_VARIABLE} is {before} and is replaced by the line; to keep that profile, give its shared "
        f"memory transport the segment_size of {ours} instead"
    )


def _own_command() -> str:
    """Return how this program is called: colcon installs it for `ros2 run`, pip as panosam2_dds_profile."""
    name = Path(sys.argv[0]).stem
    return name if name.startswith("panosam2_") else "ros2 run panosam2_ros dds_profile"


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        "dds_profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    if wrong := problem(middleware()):
        print(f"dds_profile: {wrong}", file=sys.stderr)
        return 1
    if note := replaced():
        print(f"dds_profile: {note}", file=sys.stderr)
    print(profile_line())
    if sys.stdout.isatty():
        print(f'to run the line in this shell: eval "$({_own_command()})"', file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
