"""A lifecycle node that behaves in the same way with every rclpy from Humble's on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy._rclpy_pybind11 import RCLError
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from rclpy.timer import Timer


class SteadyLifecycleNode(LifecycleNode):
    """A node that survives transitions its state does not have, and simulated time that stands still."""

    # Until Jazzy rclpy lets the exception end the executor, and with it the process. This is rclpy's own
    # method by its mangled name: nothing public lies between the service and the exception.
    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)
        except RCLError as error:
            self.get_logger().error(f"transition {transition_id} is refused: {error}")
            return TransitionCallbackReturn.ERROR

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], None],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> Timer:
        """Create a timer as rclpy does, by default on the steady clock: simulated time does not stop it."""
        clock = clock or Clock(clock_type=ClockType.STEADY_TIME)
        return super().create_timer(timer_period_sec, callback, callback_group, clock, **options)

    def soon(self, action: Callable[[], None]) -> None:
        """Call ``action`` once, from the executor."""

        def fire() -> None:
            timer.cancel()
            self.destroy_timer(timer)
            action()

        timer = self.create_timer(0.0, fire)

    def watch_parameters(
        self, refusal: Callable[[list[Parameter]], str], changed: Callable[[], None]
    ) -> None:
        """Refuse changes for which ``refusal`` returns a reason, and call ``changed`` after others.

        With Humble's rclpy, which calls only beforehand, ``changed`` is called by the executor soon after.
        """
        calls_afterwards = hasattr(self, "add_post_set_parameters_callback")

        def check(changes: list[Parameter]) -> SetParametersResult:
            reason = refusal(changes)
            if not reason and not calls_afterwards:
                self.soon(changed)
            return SetParametersResult(successful=not reason, reason=reason)

        self.add_on_set_parameters_callback(check)
        if calls_afterwards:
            self.add_post_set_parameters_callback(lambda _: changed())


def with_info(callback: Callable[[Any, dict[str, Any]], None]) -> Callable[..., None]:
    """Return a callback that is given a message and rclpy's information on it, {} with Humble's rclpy."""
    if hasattr(Subscription, "CallbackType"):
        return callback
    return lambda message: callback(message, {})
