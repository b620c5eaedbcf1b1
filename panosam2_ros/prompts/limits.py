"""How much one prompt, and one request of prompts, may hold."""

from __future__ import annotations

from dataclasses import dataclass

from panosam2_ros.memory.memory_header import MAX_LABEL_LENGTH
from panosam2_ros.prompts.prompt import PromptError

MAX_POINTS = 1000  # of any prompt; attention to them takes a time that grows with their square


@dataclass(frozen=True)
class PromptLimits:
    """What a user of the tracker allows; nobody allows more than MAX_POINTS and MAX_LABEL_LENGTH."""

    prompts: int = 64  # of a request
    points: int = MAX_POINTS  # of a prompt, with its directions
    label: int = MAX_LABEL_LENGTH  # characters

    def check(self, *, label: str, points: int) -> None:
        """Raise PromptError for a label that is too long, and for too many points."""
        if len(label) > self.label:
            raise PromptError(f"a label has at most {self.label} characters, got {len(label)}: shorten it")
        if points > self.points:
            raise PromptError(
                f"a prompt has at most {self.points} points and directions, got {points}: give fewer, a box "
                "or a mask"
            )


LARGEST_PROMPT = PromptLimits()
