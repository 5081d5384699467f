"""Options of a cfg are changed, and nothing else of its text."""

import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.edit import NET, set_options
from tinyyolo3.errors import ConfigError

TEXT = """\
# a comment
[net]
batch = 64   # of an update
width=32
height=32

[convolutional]
filters=8
; filters=9
filters=10

[maxpool]
"""


def test_one_that_is_there_changes_in_its_line():
    changed = set_options(TEXT, {NET: {"batch": "8"}, 0: {"filters": "16"}})
    expected = TEXT.replace("batch = 64   # of an update", "batch=8")
    assert changed == expected.replace("filters=8\n", "filters=16\n")  # the first of two counts


def test_one_that_is_missing_is_added_under_its_head():
    changed = set_options(TEXT, {1: {"size": "2", "stride": "1"}, NET: {"channels": "1"}})
    expected = TEXT.replace("[net]\n", "[net]\nchannels=1\n")
    assert changed == expected.replace("[maxpool]\n", "[maxpool]\nsize=2\nstride=1\n")


def test_what_is_read_is_what_was_set():
    config = parse_config(set_options(TEXT, {0: {"filters": "3", "pad": "1"}, 1: {"size": "2"}}))
    first, second = config.layers
    assert (first.integer("filters"), first.integer("pad"), second.integer("size")) == (3, 1, 2)


def test_no_changes_change_nothing():
    assert set_options(TEXT, {}) == set_options(TEXT, {0: {}}) == TEXT


def test_bad_text_is_refused_by_its_name():
    with pytest.raises(ConfigError, match=r"^a\.cfg"):
        set_options("[maxpool]\n", {}, "a.cfg")
