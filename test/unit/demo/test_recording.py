"""What a planner writes down is what the report reads, in any order and however long the run."""

import time

import numpy as np
import pytest

from panosam2_ros.demo.prefetch import PrefetchBuffer
from panosam2_ros.demo.recording import Bearings, Recording, RecordingWriter, RunLengths, Seen


def test_labels_survive_run_lengths():
    labels = np.zeros((32, 64), np.uint16)
    labels[3:9, 60:] = 7
    labels[3:9, :5] = 65535
    runs = RunLengths.of(labels)
    assert np.array_equal(runs.decode(), labels)
    assert len(runs.starts) == 20
    assert np.array_equal(RunLengths.of(labels * 0).decode(), labels * 0)


def test_values_are_found_by_kind_and_stamp(tmp_path):
    writer = RecordingWriter(tmp_path)
    seen = Seen(3, "mug", True, 1, 0.9, (0.0, 0.0, 1.0))
    writer.put("bearings", 200, Bearings(210, (seen,)))
    writer.put("bearings", 100, Bearings(115, ()))
    writer.put("image", 200, b"jp\neg")
    masks = np.array([[0, 0, 9], [9, 65535, 0]], np.uint16)
    writer.put("masks", 200, RunLengths.of(masks))
    writer.put("masks", 300, RunLengths.of(masks))
    writer.put("masks", 300, RunLengths.of(masks + 1))
    writer.close({"prompts": []})
    with Recording(tmp_path) as recording:
        assert recording.summary == {"prompts": []}
        assert recording.stamps("bearings") == [100, 200]
        assert recording.get("bearings", 200).find(3) == seen
        assert recording.get("bearings", 200).find(4) is None
        assert recording.get("image", 200) == b"jp\neg"
        assert recording.get("image", 100) is None and recording.stamps("true_masks") == []
        assert np.array_equal(recording.get("masks", 200).decode(), masks)
        assert np.array_equal(recording.get("masks", 300).decode(), masks + 1)  # the later one


def test_read_ahead_keeps_order_and_its_bound():
    made = []

    def items():
        for i in range(20):
            made.append(i)
            yield i

    ahead = PrefetchBuffer(items(), lambda item: 10, limit=50)
    taken = [ahead.next(5.0)]
    while not ahead.full:
        pass
    assert ahead.ready == 5 and len(made) <= 7
    while not ahead.ended:
        item = ahead.next(5.0)
        taken += [] if item is None else [item]
    assert taken == list(range(20))
    ahead.close()


def test_read_ahead_hands_on_what_went_wrong_after_what_went_well():
    def items():
        yield 1
        raise ValueError("the film tore")

    ahead = PrefetchBuffer(items(), lambda item: 1, limit=10)
    assert ahead.next(5.0) == 1
    with pytest.raises(ValueError, match="the film tore"):
        ahead.next(5.0)
    ahead.close()


def test_read_ahead_has_not_ended_well_where_nothing_came():
    def items():
        raise ValueError("the film tore")
        yield

    ahead = PrefetchBuffer(items(), lambda item: 1, limit=10)
    while not ahead.full:
        time.sleep(0.01)
    assert not ahead.ended
    with pytest.raises(ValueError, match="the film tore"):
        ahead.next(5.0)
    ahead.close()
