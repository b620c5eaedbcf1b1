"""A prompt of the demo's planner: as a message, and with the answer to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.msg import ObjectPrompt, PromptDirection, PromptPoint
from panosam2_ros.ros.conversion.messages import vector_msg
from panosam2_ros.simulation.simulated_prompts import PlannedPrompt


@dataclass
class AskedPrompt:
    """A prompt and the answer to it."""

    plan: PlannedPrompt
    stamp: int  # ns, of the image that it refers to
    obj_id: int = 0
    success: bool = False
    message: str = ""
    answer_ms: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Return what the recording keeps."""
        return {**asdict(self.plan), **{k: v for k, v in vars(self).items() if k != "plan"}}


def prompt_message(plan: PlannedPrompt, axes: CameraFrame) -> ObjectPrompt:
    """Make the prompt message for a new object; ``axes``: of the image's frame."""
    message = ObjectPrompt(label=plan.label)
    if plan.kind == "box":
        message.box = [float(x) for x in plan.box]
    elif plan.kind == "click":
        u, v = plan.click
        message.points = [PromptPoint(u=float(u), v=float(v), label=PromptPoint.FOREGROUND)]
    else:
        direction = vector_msg(axes.to_frame(plan.direction))
        message.directions = [PromptDirection(direction=direction, label=PromptDirection.FOREGROUND)]
    return message


def describe_prompt(asked: AskedPrompt) -> str:
    """Describe a prompt and its answer in one line."""
    plan = asked.plan
    where = ", ".join(f"{x:.2f}" if plan.kind == "direction" else f"{x:.0f}" for x in _values(plan))
    how = f"{plan.kind}{' across the seam' if plan.crosses_seam else ''} ({where})"
    if not asked.success:
        return f"{how} was REFUSED: {asked.message or 'no reason given'}"
    return f"{how} -> id {asked.obj_id} '{plan.label}', answered in {asked.answer_ms:.0f} ms"


def _values(plan: PlannedPrompt) -> tuple[float, ...]:
    return plan.box or plan.click or plan.direction
