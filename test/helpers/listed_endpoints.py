"""Print what the nodes publish, subscribe to and serve, as JSON; run it in a process of its own.

The nodes are made as programs make them; the image is subscribed to by every transport.
"""

from __future__ import annotations

import json
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from panosam2_ros.ros.node import PanoSam2Node
from panosam2_ros.ros.places.node import PlacesNode
from panosam2_ros.ros.web.node import WebNode


def recorded(kind: str, found: list[list[Any]]) -> None:
    """Have nodes note each topic or service that they make."""
    own = getattr(Node, f"create_{kind}")

    def create(node: Node, message: Any, name: str, *args: Any, **options: Any) -> Any:
        package = message.__module__.split(".")[0]
        qos = options.get("qos_profile", args[-1] if args else 10)
        profile = qos if isinstance(qos, QoSProfile) else QoSProfile(depth=qos)
        overridable = "qos_overriding_options" in options
        made = own(node, message, name, *args, **options)
        best_effort = profile.reliability == ReliabilityPolicy.BEST_EFFORT
        kept = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        name = name.removeprefix("/") if name.startswith("/image") else name  # resolved by the node
        found.append(
            [kind, name, f"{package}/{message.__name__}", profile.depth, best_effort, kept, overridable]
        )
        return made

    setattr(Node, f"create_{kind}", create)


def main() -> None:
    """Make the nodes, one after the other, and print what they made."""
    rclpy.init()
    found: list[list[Any]] = []
    for kind in ("publisher", "subscription", "service"):
        recorded(kind, found)
    listed = {}
    for name, kind, settings in (
        ("panosam2", PanoSam2Node, {"autostart": False}),
        ("panosam2_places", PlacesNode, {"publish_tf": True}),
        ("panosam2_web", WebNode, {}),
    ):
        found.clear()
        node = kind(parameter_overrides=[Parameter(key, value=value) for key, value in settings.items()])
        for transport in ("raw", "compressed", "ffmpeg", "foxglove") if name == "panosam2" else ():
            node._images.start(transport, 100.0)
            node._images.stop()
        if name == "panosam2_web":  # as for a page that is open
            node._topics.start()
            node._topics.stop()
            node.close()
        listed[name] = list(found)
        node.destroy_node()
    print(json.dumps(listed))
    rclpy.shutdown()


if __name__ == "__main__":
    main()
