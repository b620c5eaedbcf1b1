"""What is found wrong, and how severe it is."""

from __future__ import annotations

from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with the remedy."""

    level: bytes  # WARN or ERROR
    text: str


def above(value: float, warning: float, error: float) -> bytes:
    """Return OK, WARN or ERROR for a value that should be low; a limit of 0 never applies, nor to NaN."""
    if 0 < error < value:
        return ERROR
    return WARN if 0 < warning < value else OK


def below(value: float, warning: float, error: float) -> bytes:
    """Return OK, WARN or ERROR for a value that should be high."""
    if value < error:
        return ERROR
    return WARN if value < warning else OK
