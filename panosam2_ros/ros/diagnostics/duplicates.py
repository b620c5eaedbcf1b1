"""Find nodes that have this node's name, or answer its services."""

from __future__ import annotations

from rclpy.node import Node

from panosam2_ros.ros.diagnostics.findings import WARN, Finding


def duplicates(node: Node, service: str) -> dict[str, Finding]:
    """Return what is wrong where other nodes have the name of this one or answer its ``service``, by kind."""
    own = (node.get_name(), node.get_namespace())
    namesakes = node.get_node_names_and_namespaces().count(own)
    name = node.resolve_service_name(service)
    # Humble's rclpy does not count services
    servers = node.count_services(name) if hasattr(node, "count_services") else 1
    if namesakes <= 1 and servers <= 1:
        return {}
    found = f"{servers} nodes answer {name}" if servers > 1 else ""
    if namesakes > 1:
        full_name = node.get_fully_qualified_name()
        found = f"{namesakes} nodes have the name {full_name}" + (f" and {found}" if found else "")
    return {
        "duplicates": Finding(
            WARN,
            f"{found}, so that calls may reach either: start one in another namespace (namespace:= of the "
            "launch file) or under another name (-r __node:=NAME); one that was killed counts for up to "
            "20 s more",
        )
    }
