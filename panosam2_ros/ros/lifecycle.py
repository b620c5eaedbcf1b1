"""A lifecycle node that survives wrong requests with every rclpy."""

from __future__ import annotations

from rclpy._rclpy_pybind11 import RCLError
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn


class SteadyLifecycleNode(LifecycleNode):
    """Refuses a transition that its state does not have.

    Until Jazzy rclpy lets the exception end the executor, and with it the process.
    """

    # rclpy's own method by its mangled name: nothing public lies between the service and the exception
    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)
        except RCLError as error:
            self.get_logger().error(f"transition {transition_id} is refused: {error}")
            return TransitionCallbackReturn.ERROR
