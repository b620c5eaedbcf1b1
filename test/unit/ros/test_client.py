"""The client's errors and the frame that it takes for the images', without DDS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import rclpy
from std_srvs.srv import Trigger

from panosam2_ros.msg import ObjectPrompt, PromptResult
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.srv import GetObjects, PromptObjects, SaveMemory


class FakeNode:
    """Its services answer at once."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[Any] = []

    def create_client(self, kind: Any, name: str) -> Any:
        def call_async(request: Any) -> Any:
            self.asked.append(request)
            return SimpleNamespace(done=lambda: True, result=lambda: self._answer)

        return SimpleNamespace(wait_for_service=lambda _: True, call_async=call_async)

    def destroy_client(self, _: Any) -> None: ...

    def resolve_service_name(self, name: str) -> str:
        return f"/{name}"


@pytest.fixture(autouse=True)
def _no_spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rclpy, "spin_until_future_complete", lambda *_, **__: None)


def results(*codes: int) -> PromptObjects.Response:
    return PromptObjects.Response(
        message="2 of 3 refused", results=[PromptResult(code=code) for code in codes]
    )


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (results(PromptResult.OK, PromptResult.BUSY, PromptResult.INVALID), PromptObjects, PromptResult.BUSY),
        (results(), PromptObjects, PromptResult.INVALID),  # a request without prompts
        (SaveMemory.Response(code=PromptResult.INTERNAL, message="full"), SaveMemory, PromptResult.INTERNAL),
        (GetObjects.Response(code=PromptResult.NOT_ACTIVE), GetObjects, PromptResult.NOT_ACTIVE),
        (Trigger.Response(message="no"), Trigger, None),
    ],
)
def test_a_refusal_is_raised_with_its_code(answer: Any, kind: Any, code: int | None) -> None:
    node: Any = FakeNode(answer)
    with pytest.raises(ClientError) as refusal:
        Client(node).call(kind, "some_service", kind.Request())
    assert refusal.value.code == code
    assert str(refusal.value) == (answer.message or "/panosam2/some_service refused and gave no reason")


def test_a_box_of_another_length_is_refused_before_it_is_sent() -> None:
    """rclpy fails to serialize more than four numbers, and says nothing of the box."""
    node: Any = FakeNode(results(PromptResult.OK))
    for length in (1, 3, 5):
        prompt = ObjectPrompt()
        prompt.box.extend([1.0] * length)
        with pytest.raises(ClientError, match=f"got {length} numbers") as refusal:
            Client(node).prompt(prompt)
        assert refusal.value.code == PromptResult.INVALID
    assert node.asked == []


@pytest.mark.parametrize(("target_frame", "expected"), [("", "camera"), ("map", "camera")])
def test_directions_are_in_the_images_frame_whatever_frame_answers_are_in(
    target_frame: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = GetObjects.Response(success=True)
    answered.objects.header.frame_id = target_frame or "camera"
    node: Any = FakeNode(answered)
    client = Client(node)
    monkeypatch.setattr(client, "parameter", {"target_frame": target_frame}.get)
    image = SimpleNamespace(header=SimpleNamespace(frame_id="camera"))
    monkeypatch.setattr(client, "_newest", lambda kind, name: iter([image]) if name == "masks" else None)
    assert client.image_frame() == expected
