"""A lifecycle node that behaves in the same way with every rclpy from Humble's on."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy._rclpy_pybind11 import RCLError
from rclpy.callback_groups import CallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from rclpy.task import Future
from rclpy.timer import Timer

from panosam2_ros.ros.parameter_access import as_number, no_such_parameters

_Returned = TypeVar("_Returned")


class SteadyLifecycleNode(LifecycleNode):
    """A node that survives transitions its state does not have, and simulated time that stands still."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        # a transition that awaits the loading of a model must not keep get_state out
        self._beside = ReentrantCallbackGroup()
        self._threads: list[threading.Thread] = []
        self._service_change_state.callback_group = self._beside
        self._beside.add_entity(self._service_change_state)

    async def prepare(self) -> None:
        """Do what takes long of configuring without blocking the executor; called before ``on_configure``."""

    async def change_state(self, transition_id: int) -> TransitionCallbackReturn:
        """Make a transition as rclpy does, but await ``prepare`` in the state `configuring`."""
        if transition_id != Transition.TRANSITION_CONFIGURE:
            return self._LifecycleNodeMixin__change_state(transition_id)
        machine, before = self._state_machine, LifecycleState(*self._state_machine.current_state[::-1])
        try:
            machine.trigger_transition_by_id(transition_id, True)
        except RCLError as error:
            self.get_logger().error(f"transition {transition_id} is refused: {error}")
            return TransitionCallbackReturn.ERROR
        await self.prepare()
        outcome = self.on_configure(before)
        machine.trigger_transition_by_label(outcome.to_label(), True)
        return outcome

    # rclpy's own by its mangled name, as below: its service calls the transition and does not await it
    async def _LifecycleNodeMixin__on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        transition = request.transition.id
        try:
            if request.transition.label:
                transition = self._state_machine.get_transition_by_label(request.transition.label)
            response.success = await self.change_state(transition) == TransitionCallbackReturn.SUCCESS
        except RCLError as error:
            self.get_logger().error(f"transition {request.transition.label or transition!r}: {error}")
            response.success = False
        return response

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
        callback: Callable[[], Awaitable[None] | None],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> Timer:
        """Create a timer as rclpy does, by default on the steady clock: simulated time does not stop it."""
        clock = clock or Clock(clock_type=ClockType.STEADY_TIME)
        return super().create_timer(timer_period_sec, callback, callback_group, clock, **options)

    def soon(self, action: Callable[[], Awaitable[None] | None]) -> None:
        """Call ``action`` once, from the executor, and await it where it is a coroutine function."""

        async def fire() -> None:
            timer.cancel()
            self.destroy_timer(timer)
            awaited = action()
            if awaited is not None:
                await awaited

        timer = self.create_timer(0.0, fire, self._beside)

    async def in_thread(self, action: Callable[[], _Returned], name: str) -> _Returned:
        """Run ``action`` on a daemon thread of its own and await its result; raise what it raises.

        ``unfinished`` has the thread until it is over.
        """
        answer: Future[tuple[Any, BaseException | None]] = Future()

        def run() -> None:
            try:
                outcome: tuple[Any, BaseException | None] = action(), None
            except BaseException as error:
                outcome = None, error
            answer.set_result(outcome)
            if self.executor is not None:
                self.executor.wake()  # else it sleeps on: it does not watch futures

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads = [*self.unfinished, thread]
        thread.start()
        result: _Returned
        result, error = await answer
        if isinstance(error, Exception):
            raise error
        if error is not None:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        return result

    @property
    def unfinished(self) -> list[threading.Thread]:
        """Threads begun by ``in_thread`` that still run."""
        return [thread for thread in self._threads if thread.is_alive()]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters as rclpy does; take integers for numbers, and name the nearest of unknown ones."""
        unknown = [each.name for each in parameter_list if not self.has_parameter(each.name)]
        if unknown:
            known = [name for name in self._parameters if not name.startswith("qos_overrides.")]
            return SetParametersResult(successful=False, reason=no_such_parameters(unknown, known))
        numbers = [as_number(each, self.get_parameter(each.name).value) for each in parameter_list]
        return super().set_parameters_atomically(numbers)

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
