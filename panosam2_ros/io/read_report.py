"""Report of how many frames of a source could be read, and why the others could not."""

from __future__ import annotations

from dataclasses import dataclass, field

EXIT_STATUS = 3  # of programs that did what was asked, but not with all frames
_MAX_REASONS = 5  # that are kept: a source may have a million unreadable frames
_MAX_LENGTH = 300  # characters of a reason, which may quote a file


@dataclass(eq=False)
class ReadReport:
    """Numbers of frames that one reading of a source has found so far, and the first reasons of losses."""

    remedy: str = ""  # what to do about missing frames
    read: int = 0
    missing: int = 0
    damaged: int = 0  # of those that were read: decoded although their data are damaged
    reasons: list[str] = field(default_factory=list)

    def miss(self, reason: str, *, count: int = 1) -> None:
        """Count frames that cannot be read; only the first reasons are kept."""
        self.missing += count
        if len(self.reasons) < _MAX_REASONS:
            self.reasons.append(reason if len(reason) <= _MAX_LENGTH else reason[: _MAX_LENGTH - 3] + "...")

    @property
    def text(self) -> str:
        """The numbers, the first reasons and the remedy in one line; empty where every frame is sound."""
        if not self.missing:
            return f"{self.damaged} of {self.read} frames have damaged data" if self.damaged else ""
        text = f"{self.read} of {self.read + self.missing} frames could be read, {self.missing} are missing"
        if self.damaged:
            text += f", {self.damaged} of those read have damaged data"
        more = "; and others" if self.missing > len(self.reasons) == _MAX_REASONS else ""
        return f"{text} ({'; '.join(self.reasons)}{more}){'; ' if self.remedy else ''}{self.remedy}"
