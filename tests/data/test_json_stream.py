"""JSON read an entry at a time: the same values as json.load, wherever the window's edges fall."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.data import json_stream
from tinyyolo3.data.json_stream import stream_entries, stream_members
from tinyyolo3.errors import DataError

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "x.json"


def members(path) -> dict:
    found = {}
    for name, entries in stream_members(path, "a thing"):
        found[name] = None if entries is None else list(entries)
    return found


def refusal(path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as caught:
        members(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@settings(deadline=None)
@given(
    whole=st.dictionaries(st.text(max_size=5), st.lists(VALUES, max_size=5) | VALUES, max_size=4),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_equals_the_whole_decoded_at_once(path, whole, chunk, indent, ascii_only):
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii_only)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        found = members(path)
    assert found == {k: v if isinstance(v, list) else None for k, v in whole.items()}


@settings(deadline=None)
@given(entries=st.lists(VALUES, max_size=8), chunk=st.integers(1, 40))
def test_an_array_is_streamed_too(path, entries, chunk):
    path.write_text(json.dumps(entries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        assert list(stream_entries(path, "results")) == entries


@settings(deadline=None)
@given(text=st.text(alphabet='{}[]",:1e.-\\ an\n', max_size=20), chunk=st.integers(1, 9))
def test_refuses_exactly_what_json_refuses(path, text, chunk):
    path.write_text(text := '{"a": [' + text)
    pairs: list = []
    try:
        whole = json.loads(text, object_pairs_hook=lambda p: pairs.append(p) or dict(p))
    except ValueError:
        whole = None
    twice = bool(pairs) and len(dict(pairs[-1])) < len(pairs[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        if whole is None or twice:
            with pytest.raises(DataError):
                members(path)
        else:
            assert repr(members(path)["a"]) == repr(whole["a"])


def test_entries_that_are_left_are_passed_over(path):
    path.write_text('{"a": [1, 2, 3], "b": [4]}')
    found = [next(entries) for _, entries in stream_members(path, "a thing") if entries]
    assert found == [1, 4]


def test_a_byte_order_mark_is_passed_over(path):
    path.write_bytes(b'\xef\xbb\xbf{"a": [1]}')
    assert members(path) == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1]", r"expected a thing, an object in braces, found '\[1\]'"),
        (" \n", "expected a thing, an object in braces, found its end"),
        ('{"a": [1, 2', "the file ends inside a; was it copied or downloaded whole"),
        ('{"a": [{"b": 1', r"the file ends inside a\[0\]; was it"),
        ('{"a": ["bcd', r"the file ends inside a\[0\]; was it"),
        ('{"a": [1], ', r"the file ends inside a member's name; was it"),
        ('{"a": [1 2]}', r"\(character 10\): not JSON: expected ',' or '\]' in a, found '2\]}'"),
        ('{"a": [1,]}', r"\(character 10\): a\[1\] is not JSON: Expecting value"),
        ('{"a": [1]} x', r"\(character 12\): not JSON: expected the file's end, found 'x'"),
        ('{"a": [], "a": []}', "has 'a' for the second time"),
        ("{1: []}", "expected a member's name, found 1"),
        (b'{"a": ["\xff"]}', r"not UTF-8 near byte 8 \(0xff\)"),
        ('{"a": [' + "[" * 100000, r"a\[0\] is nested too deeply"),
        ('{"a": [' + "1" * 5000 + "]}", r"a\[0\] cannot be read: "),
        ("<html>", "expected a thing, found a web page"),
        ("", "expected a thing, found an empty file"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(path, text, expected):
    assert re.search(expected, refusal(path, text))


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        members(tmp_path / "x.json")


def test_an_error_far_from_the_end_is_found_without_reading_on(path):
    text = '{"a": [{"b" 1}, ' + '"' + "x" * (3 * json_stream.CHUNK_BYTES) + '"]}'
    assert "(character 13): a[0] is not JSON: Expecting ':'" in refusal(path, text)


def test_an_endless_entry_is_refused_before_it_fills_the_memory(path, monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_ENTRY_CHARS", 1000)
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", 100)
    assert "more than 1,000 characters" in refusal(path, '{"a": ["' + "x" * 9000 + '"]}')


OBJECTS = st.dictionaries(st.sampled_from(["a", "},{", ", {"]), VALUES, min_size=1, max_size=3)


@settings(deadline=None)
@given(
    entries=st.lists(OBJECTS | VALUES, max_size=12),
    chunk=st.integers(1, 200),
    together=st.sampled_from([1, 20, 1 << 16]),
)
def test_objects_decoded_together_are_the_same(path, entries, chunk, together):
    path.write_text(json.dumps(entries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        patch.setattr(json_stream, "_TOGETHER_CHARS", together)
        assert list(stream_entries(path, "results")) == entries


@pytest.mark.parametrize("text", ['[,{"a": 1}, {"b": 2}]', '[{"a": 1},, {"b": 2}, {"c": 3}]'])
def test_commas_without_an_entry_between_are_refused(path, text):
    path.write_text(text)
    with pytest.raises(DataError, match="is not JSON"):
        list(stream_entries(path, "results"))
