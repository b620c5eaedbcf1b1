"""Commands of a browser: what becomes of them, and what is refused before the node hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from rclpy.serialization import serialize_message

from helpers.fuzzing import examples
from panosam2_ros.msg import ObjectBearing, PromptResult
from panosam2_ros.ros.client import NODE_NOT_FOUND, ClientError
from panosam2_ros.ros.conversion.messages import ns_to_stamp
from panosam2_ros.ros.web.browser_commands import BrowserCommands, CommandError, prompt_of, read_command
from panosam2_ros.srv import GetObjects, PromptObjects


class FakeClient:
    """Answers like the node, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[Any] = []
        self.error = error

    def _note(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error

    def prompted(self, prompt: Any, *, stamp: Any) -> Any:
        self._note("prompt", prompt, stamp)
        serialize_message(prompt)  # what cannot be sent is no prompt
        answer = PromptObjects.Response(epoch=2, results=[PromptResult(bearing=ObjectBearing(object_id=4))])
        answer.header.stamp = ns_to_stamp(3)
        return answer

    def remove(self, ids: list[int]) -> None:
        self._note("remove", ids)

    def reset(self) -> str:
        self._note("reset")
        return "epoch 3"

    def save(self, name: str) -> list[int]:
        self._note("save", name)
        return [1, 2]

    def load(self, name: str) -> list[int]:
        self._note("load", name)
        return [2]

    def objects(self) -> Any:
        self._note("objects")
        return GetObjects.Response(max_objects=16)


def ask(client: FakeClient, **command: Any) -> dict[str, Any]:
    return BrowserCommands(client).answer({"id": 9, **command})  # type: ignore[arg-type]


def test_every_call_reaches_the_service_that_it_names() -> None:
    client = FakeClient()
    answer = ask(
        client, call="prompt", stamp="12.000000034", points=[[3, 4.5, 1], [5, 6, 0]], label="mug", object_id=7
    )
    assert answer["ok"] and answer["object"]["object_id"] == 4 and answer["stamp"] == "0.000000003"
    _, prompt, stamp = client.asked[0]
    assert (stamp.sec, stamp.nanosec) == (12, 34) and (prompt.label, prompt.object_id) == ("mug", 7)
    assert [(p.u, p.v, p.label) for p in prompt.points] == [(3.0, 4.5, 1), (5.0, 6.0, 0)]
    ask(client, call="prompt", box=[250, 3, 4, 9])  # across the seam; the newest image
    assert list(client.asked[1][1].box) == [250, 3, 4, 9] and client.asked[1][2] is None
    assert ask(client, call="remove", object_ids=[3])["ok"]
    assert ask(client, call="reset")["message"] == "epoch 3"
    assert ask(client, call="save", name="kitchen")["object_ids"] == [1, 2]
    assert ask(client, call="load", name="kitchen")["object_ids"] == [2]
    assert ask(client, call="objects")["max_objects"] == 16
    assert [each[0] for each in client.asked[2:]] == ["remove", "reset", "save", "load", "objects"]


def test_a_refusal_comes_with_code_name_and_message_as_the_service_gave_it() -> None:
    refusal = ClientError("nothing was found at the prompt", PromptResult.NOTHING_FOUND)
    answer = ask(FakeClient(refusal), call="prompt", points=[[1, 1, 1]])
    assert answer == {
        "type": "answer", "id": 9, "ok": False, "name": "NOTHING_FOUND", "code": 3,
        "message": "nothing was found at the prompt",
    }  # fmt: skip
    answer = ask(FakeClient(ClientError("no service", name=NODE_NOT_FOUND)), call="reset")
    assert (answer["name"], answer["code"]) == ("NODE_NOT_FOUND", None)
    answer = ask(FakeClient(RuntimeError("other version")), call="reset")
    assert answer["name"] == "INTERNAL" and "other version" in answer["message"]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"call": "shutdown"}, "calls are prompt, remove"),
        ({"call": "prompt", "points": [[1, 2]]}, "a point is u, v and 1"),
        ({"call": "prompt", "points": [[1, 2, 5]]}, "a point is u, v and 1"),
        ({"call": "prompt", "points": [[1, "2", 1]]}, "a pixel is a number"),
        ({"call": "prompt", "points": [[1, float("nan"), 1]]}, "a pixel is a number"),
        ({"call": "prompt", "points": [[1, 1e300, 1]]}, "a pixel is at most"),
        ({"call": "prompt", "points": [[1, 1, 1]] * 101}, "points is a list of at most 100"),
        ({"call": "prompt", "points": "11"}, "points is a list"),
        ({"call": "prompt", "box": [1, 2, 3, 4, 5]}, "box is a list of at most 4"),
        ({"call": "prompt", "object_id": 70000}, "an object's id is 0 to 65535"),
        ({"call": "prompt", "object_id": True}, "an object's id is 0 to 65535"),
        ({"call": "prompt", "label": 3}, "label is a text"),
        ({"call": "prompt", "label": "\ud800"}, "label is no Unicode text"),
        ({"call": "prompt", "stamp": "yesterday"}, "a stamp is SECONDS.NANOSECONDS"),
        ({"call": "prompt", "stamp": 12.5}, "stamp is a text"),
        ({"call": "remove", "object_ids": [0]}, "an object's id is 1 to 65535"),
        ({"call": "remove", "object_ids": [1] * 1001}, "object_ids is a list of at most 1000"),
        ({"call": "save"}, "name is a text"),
        ({"call": "load", "name": "x" * 1001}, "name is a text of at most"),
    ],
)
def test_what_no_page_sends_is_refused_before_the_node_hears_of_it(
    command: dict[str, Any], reason: str
) -> None:
    client = FakeClient()
    answer = ask(client, **command)
    assert (
        not answer["ok"] and answer["name"] == "INVALID" and reason in answer["message"] and not client.asked
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["points", "box", "label", "object_id", "stamp", "name", "object_ids"])


@pytest.mark.fuzz
@pytest.mark.faults
@examples(60)
@given(
    call=st.sampled_from(["prompt", "remove", "save", "load", "reset", "objects", ""]),
    more=st.dictionaries(KEYS, VALUES, max_size=4),
)
def test_any_command_is_answered_and_what_is_sent_can_be_sent(call: str, more: dict[str, Any]) -> None:
    answer = ask(FakeClient(), call=call, **more)
    assert answer["id"] == 9 and (answer["ok"] or answer["name"] == "INVALID")


@pytest.mark.parametrize("text", ["", "3", "[]", '{"id": 3}', '{"call": null}', '{"call": "x", "id": 1.5}'])
def test_what_is_no_command_is_named(text: str) -> None:
    with pytest.raises(CommandError):
        read_command(text)


def test_a_prompt_of_a_page_is_one_of_the_message() -> None:
    prompt = prompt_of({"points": [[0, 0, 1]]})
    assert prompt.object_id == 0 and prompt.label == "" and len(prompt.box) == 0
