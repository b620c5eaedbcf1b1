"""PanoSAM2 for ROS 2: point once at an object in a 360 stream, get its mask and bearing ever after."""

from pkgutil import extend_path

# The generated messages (`panosam2_ros.msg`, `panosam2_ros.srv`) may lie in another prefix than
# this file: after `colcon build`, with the checkout itself first on the path.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
