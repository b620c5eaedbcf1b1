"""The tools of the MCP server: their names, arguments and descriptions, which are what a model reads of them.

Importing this needs the package `mcp`.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import Field

import panosam2_ros
from panosam2_ros.ros.agents.remedies import AgentError
from panosam2_ros.ros.agents.tools import AgentTools, ToolAnswer

log = logging.getLogger(__name__)

INSTRUCTIONS = """\
You see through a robot's 360-degree camera and point at objects, which are then tracked in every image.
1. `look` shows the panorama with rulers, `look_at` a perspective view in which things are larger.
2. `track` one object: give a pixel on it (or a box around it) in the picture that you saw, with the stamp of
   that picture and, of a look_at, its view. The object gets an id.
3. `where`, `list` and `wait_until_visible` say where objects are: angles in degrees, left and up positive.
Objects can be visible (measured), occluded (predicted) or lost (last known direction: do not drive there).
A mask can lie on the wrong thing: look again, then `correct` or `forget` it. Directions are no positions.
Every call ends after {longest:.0f} s at the latest, mostly in less than one; wait_until_visible waits for its
timeout_s besides."""

_READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
_CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
_FORGETS = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)

_STAMP = "of the picture, as its answer has it, SECONDS.NANOSECONDS, as a string"
Stamp = Annotated[str | None, Field(description=f"{_STAMP}; left out: the newest image")]
KeptStamp = Annotated[
    str | None, Field(description=f"{_STAMP}, to see more of it; left out: the newest image")
]
ViewOfAnswer = Annotated[
    dict[str, float] | None,
    Field(description="the view in the answer of look_at, unchanged; left out: pixels are those of look"),
]
ObjectId = Annotated[int, Field(ge=1, le=65535, description="id of a tracked object")]
Numbers = Annotated[list[float] | None, Field(description="two numbers")]
Pixels = Annotated[list[list[float]] | None, Field(description="pixels [u, v] of the picture")]


def build_server(tools: AgentTools) -> MCPServer[Any]:
    """Return the server; ``run`` serves on standard input and output."""
    server: MCPServer[Any] = MCPServer(
        "panosam2",
        title="Objects around a robot, by its 360-degree camera",
        instructions=INSTRUCTIONS.format(longest=tools.longest_call),
        version=panosam2_ros.__version__,
        log_level="WARNING",
    )
    _add_looking(server, tools)
    _add_pointing(server, tools)
    _add_asking(server, tools)
    return server


def _add_looking(server: MCPServer[Any], tools: AgentTools) -> None:
    @server.tool(annotations=_READS)
    def look(stamp: KeptStamp = None) -> CallToolResult:
        """Show the whole panorama, with lines of azimuth and elevation, pixel rulers and tracked objects.

        Answers with the picture, its stamp (give it to track) and all objects.
        """
        return _answered(lambda: tools.look(stamp))

    @server.tool(annotations=_READS)
    def look_at(
        azimuth: Annotated[float, Field(description="degrees, left positive, 0 ahead, 180 behind")],
        elevation: Annotated[float, Field(description="degrees, up positive")] = 0.0,
        field_of_view: Annotated[float, Field(description="degrees across the picture, 5 to 140")] = 60.0,
        stamp: KeptStamp = None,
    ) -> CallToolResult:
        """Show a perspective view in one direction, in which things are larger and lines are straight.

        To track what is in it, give track pixels of this picture with its stamp and its view.
        """
        return _answered(lambda: tools.look_at(azimuth, elevation, field_of_view, stamp))


def _add_pointing(server: MCPServer[Any], tools: AgentTools) -> None:
    @server.tool(annotations=_CHANGES)
    def track(
        label: Annotated[str, Field(description="what it is, such as: red chair")],
        *,
        pixel: Annotated[list[float] | None, Field(description="[u, v] in the middle of the object")] = None,
        box: Annotated[
            list[float] | None,
            Field(
                description="[u_min, v_min, u_max, v_max] around the object; in the picture of look, "
                "u_min > u_max is a box across the seam. The surest way for large or many-parted objects"
            ),
        ] = None,
        direction: Annotated[
            list[float] | None,
            Field(description="[azimuth, elevation], degrees, as the lines in pictures are numbered"),
        ] = None,
        stamp: Stamp = None,
        view: ViewOfAnswer = None,
    ) -> CallToolResult:
        """Track an object from now on: give its pixel, box or direction in a picture that you saw.

        Answers with its id and where it is. The node keeps images for a few seconds only: track soon after
        looking. Check by looking again that the outline is on the object.
        """
        return _answered(
            lambda: tools.track(
                label, pixel=pixel or (), box=box or (), direction=direction or (), stamp=stamp, view=view
            )
        )

    @server.tool(annotations=_CHANGES)
    def correct(
        id: ObjectId,
        *,
        positive: Pixels = None,
        negative: Pixels = None,
        stamp: Stamp = None,
        view: ViewOfAnswer = None,
    ) -> CallToolResult:
        """Correct the outline of a tracked object by pixels on it (positive) and beside it (negative)."""
        return _answered(
            lambda: tools.correct(id, on=positive or (), off=negative or (), stamp=stamp, view=view)
        )


def _add_asking(server: MCPServer[Any], tools: AgentTools) -> None:
    @server.tool(annotations=_READS)
    def where(id: ObjectId) -> CallToolResult:
        """Say where a tracked object is, how long ago it was seen and how sure the direction is."""
        return _answered(lambda: tools.where(id))

    @server.tool(name="list", annotations=_READS)
    def list_objects() -> CallToolResult:
        """List all tracked objects with their ids, and say where they are."""
        return _answered(tools.list_objects)

    @server.tool(annotations=_FORGETS)
    def forget(id: ObjectId) -> CallToolResult:
        """Stop tracking an object, for example one that lies on the wrong thing."""
        return _answered(lambda: tools.forget(id))

    @server.tool(annotations=_READS)
    def wait_until_visible(
        id: ObjectId,
        timeout_s: Annotated[float, Field(gt=0, le=120, description="seconds to wait at most")] = 10.0,
    ) -> CallToolResult:
        """Wait until a tracked object is seen, at most timeout_s; says where it is then, or is expected."""
        return _answered(lambda: tools.wait_until_visible(id, timeout_s))


def _answered(call: Callable[[], ToolAnswer]) -> CallToolResult:
    """Return a call's answer, or its error as an answer that the model reads."""
    try:
        answer = call()
    except AgentError as error:
        text = TextContent(type="text", text=str(error))
        return CallToolResult(content=[text], structured_content=error.values, is_error=True)
    except Exception as error:  # the server must outlive it, and its log must tell
        log.exception("a tool failed")
        failed = AgentError("INTERNAL", f"{type(error).__name__}: {error}")
        text = TextContent(type="text", text=str(failed))
        return CallToolResult(content=[text], structured_content=failed.values, is_error=True)
    content: list[Any] = [TextContent(type="text", text=answer.text)]
    if answer.jpeg:
        data = base64.b64encode(answer.jpeg).decode()
        content.append(ImageContent(type="image", data=data, mime_type="image/jpeg"))
    return CallToolResult(content=content, structured_content={"ok": True, **answer.values})
