"""What is not as it should be, and how bad that is."""

from __future__ import annotations

from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, with the remedy."""

    level: bytes  # WARN or ERROR
    text: str


def above(value: float, warning: float, error: float) -> bytes:
    """OK, WARN or ERROR of a value that should be low; a limit of 0 never applies, nor does NaN."""
    if 0 < error < value:
        return ERROR
    return WARN if 0 < warning < value else OK


def below(value: float, warning: float, error: float) -> bytes:
    """The same of a value that should be high."""
    if value < error:
        return ERROR
    return WARN if value < warning else OK
