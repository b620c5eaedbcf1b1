"""Why a service call is refused: a code of PromptResult.msg, and a message for people."""

from __future__ import annotations

from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.io.printable import printable
from panosam2_ros.memory.memory_header import MemoryFileError
from panosam2_ros.msg import PromptResult
from panosam2_ros.ros.inference.frame_buffer import NoImageError, NoSuchFrameError
from panosam2_ros.ros.inference.worker import WorkerBusyError, WorkerStoppedError

# The first that fits; an exception that none fits is INTERNAL.
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (NoImageError, PromptResult.NO_IMAGE),
    (NoSuchFrameError, PromptResult.STAMP_NOT_HELD),
    (ImageError, PromptResult.STAMP_NOT_HELD),
    (WorkerBusyError, PromptResult.BUSY),
    (WorkerStoppedError, PromptResult.NOT_ACTIVE),
    (MemoryFileError, PromptResult.INVALID),
)


class CallRefusedError(Exception):
    """Refuse a service call; ``code`` is one of PromptResult's constants."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(printable(message))  # it may quote the request
        self.code = code

    @classmethod
    def of(cls, error: Exception) -> CallRefusedError:
        """Return the refusal that an exception amounts to."""
        if isinstance(error, CallRefusedError):
            return error
        for kind, code in _CODES:
            if isinstance(error, kind):
                return cls(code, str(error))
        return cls(PromptResult.INTERNAL, f"{type(error).__name__}: {error}")
