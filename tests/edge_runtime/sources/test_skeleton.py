"""Shows that skeleton files and live samples become (C, V) frames without NaN, and what is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.sources.base import UnreadableFrameError
from edge_runtime.sources.skeleton import open_lines, open_skeleton


def read_all(source):
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    return frames


def save(path, array):
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, np.float16])
@pytest.mark.parametrize("bodies", [(), (2,)])
def test_npy_in_the_datasets_layout(tmp_path, dtype, bodies):
    array = np.random.default_rng(0).integers(0, 100, (3, 7, 5, *bodies)).astype(dtype)
    source = open_skeleton(save(tmp_path / "a.npy", array), 50.0, 30.0)
    frames = read_all(source)
    assert source.info.frames == 7
    assert [f.t for f in frames] == [i / 50 for i in range(7)]
    assert all(f.data.dtype == np.float32 for f in frames)
    np.testing.assert_array_equal(np.stack([f.data for f in frames], axis=1), array.astype(np.float32))


def test_npy_without_a_rate_plays_at_the_models(tmp_path):
    source = open_skeleton(save(tmp_path / "a.npy", np.zeros((3, 4, 5))), None, 60.0)
    assert source.info.fps == 60
    assert read_all(source)[1].t == 1 / 60


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5)), r"expected shape \(C, L, V\)"),
        (np.zeros((2, 3, 4, 5, 1)), "whole dataset"),
        (np.zeros((3, 0, 5)), "no sample"),
        (np.zeros((3, 4, 5), complex), "expected numbers"),
        (np.full((3, 4, 5), "x"), "expected numbers"),
        (np.array([[["a", 1, None]]], object), "not a .npy file of numbers"),
        (np.zeros((3, 4, 5), bool), "expected numbers"),
    ],
)
def test_npy_of_another_shape_or_type_is_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        open_skeleton(str(tmp_path / "a.npy"), None, 30.0)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00"])
def test_a_damaged_npy_is_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"not a \.npy file of numbers"):
        open_skeleton(str(tmp_path / "a.npy"), None, 30.0)


def test_names_that_are_no_skeleton_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_skeleton(str(tmp_path / "missing.npy"), None, 30.0)
    (tmp_path / "a.mat").write_text("x")
    with pytest.raises(InputError, match=r"expected a \.npy or \.csv"):
        open_skeleton(str(tmp_path / "a.mat"), None, 30.0)


def test_csv_columns_are_named_and_may_stand_in_any_order(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("head.x,t,hand.y,hand.x,head.y\n1,0.5,4,3,2\n5,0.75,,7,6\n\n9,1.0,12,11,10\n")
    source = open_skeleton(str(path), None, 30.0)
    frames = read_all(source)
    assert source.info.fps == 4
    assert [f.t for f in frames] == [0.5, 0.75, 1.0]
    np.testing.assert_array_equal(frames[0].data, [[1, 3], [2, 4]])  # channels x, y; nodes head, hand
    np.testing.assert_array_equal(frames[1].data, [[5, 7], [6, np.nan]])
    np.testing.assert_array_equal(frames[2].data, [[9, 11], [10, 12]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("head.x,head.y\n", "no sample"),
        ("1,2,3\n4,5,6\n", "header of NODE.CHANNEL"),
        ("head.x,head.y,hand.x\n1,2,3\n", "every node with the same channels"),
        ("head.x,head.x\n1,2\n", "each once.*found 'head.x'"),
        ("head.x,headx\n1,2\n", "found 'headx'"),
        ("t,head.x,head.y,hand.x,hand.y,foot.x,foot.y,hand.yy\n0,1,2,3,4,5,6,7\n", "'hand.yy' but no 'head.yy'"),
        ("t\n1\n", "header of NODE.CHANNEL"),
    ],
)
def test_csv_whose_header_does_not_name_a_skeleton_is_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        open_skeleton(str(tmp_path / "a.csv"), None, 30.0)


def test_csv_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00head")
    with pytest.raises(InputError, match="UTF-8"):
        open_skeleton(str(tmp_path / "a.csv"), None, 30.0)


@pytest.mark.parametrize("row", ["1,2", "1,2,3,x", "1,2,3,4,5"])
def test_a_bad_row_is_one_lost_sample(tmp_path, row):
    (tmp_path / "a.csv").write_text(f"a.x,a.y,b.x,b.y\n1,2,3,4\n{row}\n5,6,7,8\n")
    source = open_skeleton(str(tmp_path / "a.csv"), None, 10.0)
    source.read()
    with pytest.raises(UnreadableFrameError, match="sample 1"):
        source.read()
    assert source.read().t == 0.2


def lines(*items, **options):
    text = "".join(item if isinstance(item, str) else json.dumps(item) + "\n" for item in items)
    ticks = iter(range(0, 10**12, 20_000_000))
    return open_lines(io.StringIO(text), clock=lambda: next(ticks), **options)


def test_live_json_samples_are_stamped_on_arrival():
    source = lines([[1, 2], [3, 4]], [[5, None], [7, 8]])
    frames = read_all(source)
    assert source.info.live
    assert [f.t for f in frames] == [0, 0.02]
    np.testing.assert_array_equal(frames[1].data, [[5, np.nan], [7, 8]])


def test_live_samples_may_state_their_time_or_the_rate_may_be_given():
    assert [f.t for f in read_all(lines({"t": 3.5, "x": [[1]]}, {"t": 4, "x": [[2]]}))] == [3.5, 4]
    assert [f.t for f in read_all(lines([[1]], [[2]], rate=8.0))] == [0, 0.125]


def test_a_clock_that_is_set_back_is_passed_on_for_the_pipeline_to_reset():
    times = [f.t for f in read_all(lines(*[{"t": t, "x": [[1]]} for t in (7200, 7200.1, 3600, 3600.1)]))]
    assert times == [7200, 7200.1, 3600, 3600.1]


def test_live_csv_begins_with_its_header():
    frames = read_all(lines("t,a.x,b.x\n", "0.1,1,2\n", "0.2,3,4\n"))
    np.testing.assert_array_equal([f.data for f in frames], [[[1, 2]], [[3, 4]]])


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1, 2]\n",
        "[[1, 2], [3]]\n",
        '{"x": "no"}\n',
        '{"t": "noon", "x": [[1, 2]]}\n',
        "[[1, 2, 3]]\n",
        "[[[[1]]]]\n",
        "[[1e999]]]\n",
    ],
)
def test_a_live_line_that_is_no_sample_is_lost_and_the_next_is_read(line):
    source = lines([[1, 2]], line.rstrip("\n") + "\n", [[3, 4]])
    source.read()
    with pytest.raises(UnreadableFrameError, match="sample 1"):
        source.read()
    np.testing.assert_array_equal(source.read().data, [[3, 4]])
    assert source.read() is None


@pytest.mark.parametrize(("line", "message"), [("", "no line"), ("hello\n", "header"), ("[[1], [2, 3]]\n", "rows")])
def test_a_live_stream_that_begins_wrongly_is_refused(line, message):
    with pytest.raises(InputError, match=message):
        lines(line)
