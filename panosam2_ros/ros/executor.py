"""An executor that goes on where memory runs out while it takes a message."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from rclpy.executors import SingleThreadedExecutor

_Taken = TypeVar("_Taken")
_MANY = 5  # in a row: one may be replaced by a newer one while it is taken
_PAUSE = 0.05  # s: what could not be taken may still be there, and must not be tried all the time


class SteadyExecutor(SingleThreadedExecutor):
    """A single-threaded executor whose process does not end for want of memory for one message.

    rclpy lets the exception end ``spin``, and marks subscription and callback group as busy for ever. This
    overrides methods of rclpy that are not public: nothing public lies between them and the exception.
    """

    memory_ran_out: Callable[[str], None] = staticmethod(lambda _: None)  # told what was not taken

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # how many messages in a row could not be taken, though there were some
        self._empty: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def spin(self) -> None:
        """Execute callbacks until the context is shut down."""
        while self.context.ok() and not self._is_shutdown:
            try:
                super().spin()
            except MemoryError as error:  # in a callback: the one after it gets its turn
                self._ran_out(f"in a callback ({error})" if str(error) else "in a callback")

    def _take_subscription(self, sub: Any) -> Any:
        taken = self._taken(super()._take_subscription, sub, sub.topic_name)
        # rosidl gives no message, and no exception, where it has no memory for a field
        self._empty[sub] = 0 if taken is not None else self._empty.get(sub, 0) + 1
        if self._empty[sub] and self._empty[sub] % _MANY == 0:
            self._ran_out(f"so that messages come on {sub.topic_name} and none of {_MANY} could be taken")
        return taken

    def _take_service(self, srv: Any) -> Any:
        return self._taken(super()._take_service, srv, srv.srv_name)

    def _taken(self, take: Callable[[Any], _Taken], entity: Any, name: str) -> _Taken | None:
        """Take a message; return None, as for one that is not there, where memory runs out."""
        try:
            return take(entity)
        except MemoryError:
            self._ran_out(f"while a message on {name} was taken")
            return None

    def _ran_out(self, where: str) -> None:
        with contextlib.suppress(MemoryError):  # then it cannot even be said
            self.memory_ran_out(where)
        time.sleep(_PAUSE)
