"""Report of how many frames of a source could be read, and why the others could not."""

from __future__ import annotations

from dataclasses import dataclass, field

from panosam2_ros.io.printable import printable

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
    notes: list[str] = field(default_factory=list)  # that do not concern missing frames

    def miss(self, reason: str, *, count: int = 1) -> None:
        """Count frames that cannot be read; only the first reasons are kept."""
        self.missing += count
        if len(self.reasons) < _MAX_REASONS:
            self.reasons.append(printable(reason, most=_MAX_LENGTH))

    def note(self, text: str) -> None:
        """Keep a note once."""
        if text not in self.notes and len(self.notes) < _MAX_REASONS:
            self.notes.append(text)

    @property
    def text(self) -> str:
        """The numbers, the first reasons, the remedy and the notes; empty where there is nothing to say."""
        parts = []
        if self.missing:
            more = "; and others" if self.missing > len(self.reasons) == _MAX_REASONS else ""
            parts = [
                f"{self.read} of {self.read + self.missing} frames could be read, {self.missing} are missing "
                f"({'; '.join(self.reasons)}{more})",
                self.remedy,
            ]
        if self.damaged:
            parts.append(f"{self.damaged} of {self.read} frames that could be read have damaged data")
        parts += [printable(note, most=_MAX_LENGTH) for note in self.notes]
        return "; ".join(part for part in parts if part)
