"""What reading a cfg promises: Darknet's sections and options, each with its line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.darknet.config import ALIASES, INT_MAX, Section, parse_config, read_config
from tinyyolo3.errors import ConfigError

PLAIN = "[net]\nwidth=32\n\n[convolutional]\nfilters=4\nsize=3\n"


def first_layer(*lines: str) -> Section:
    return parse_config("\n".join(["[net]", "[convolutional]", *lines]), "x.cfg").layers[0]


def texts(section: Section) -> dict[str, str]:
    return {name: option.text for name, option in section.options.items()}


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.cfg")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sections_and_options_know_their_lines():
    config = parse_config(PLAIN, "x.cfg")
    (layer,) = config.layers
    assert (config.net.kind, config.net.line) == ("net", 1)
    assert (layer.kind, layer.line) == ("convolutional", 4)
    assert (config.net.options["width"].text, config.net.options["width"].line) == ("32", 2)
    assert (layer.options["size"].text, layer.options["size"].line) == ("3", 6)
    assert config.source == layer.source == "x.cfg"


@pytest.mark.parametrize("newline", ["\r\n", "\r"], ids=["CRLF", "CR"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order mark"])
def test_newlines_and_byte_order_mark_change_nothing(tmp_path, newline, mark):
    path = tmp_path / "x.cfg"
    path.write_bytes((mark + PLAIN.replace("\n", newline)).encode())
    plain = parse_config(PLAIN, str(path))
    assert read_config(path) == plain


@pytest.mark.parametrize("sign", ["#", ";"])
def test_comments_are_dropped_as_whole_lines_and_after_an_option(sign):
    text = f"{sign} a=1\n[net] {sign} x\n  {sign}[yolo]\n[conv]\nsize = 3 {sign} stride = 2\n"
    (layer,) = parse_config(text).layers
    assert (layer.kind, texts(layer)) == ("convolutional", {"size": "3"})


def test_darknet_removes_white_space_everywhere():
    layer = first_layer("\t anchors =  10, 13,\t16 ,30 ", "s i z e = 1 1")
    assert texts(layer) == {"anchors": "10,13,16,30", "size": "11"}


@pytest.mark.parametrize(("alias", "kind"), sorted(ALIASES.items()))
def test_section_aliases(alias, kind):
    if kind == "net":
        assert parse_config(f"[{alias}]\n[conv]").net.kind == "net"
    else:
        assert parse_config(f"[net]\n[{alias}]").layers[0].kind == kind


def test_section_names_ignore_case():
    assert parse_config("[NET]\n[Yolo]").layers[0].kind == "yolo"


def test_unknown_options_are_kept():
    assert texts(first_layer("burn_in=1000", "focal=")) == {"burn_in": "1000", "focal": ""}


def test_darknet_first_of_two_equal_options_wins():
    layer = first_layer("size=3", "size=5")
    assert (layer.integer("size"), layer.options["size"].line) == (3, 3)


def test_an_equals_sign_may_stand_in_a_value():
    assert texts(first_layer("a=b=c")) == {"a": "b=c"}


class TestNumbers:
    def test_integers_lists_and_defaults(self):
        layer = first_layer("layers=-1,+61", "size=007")
        assert layer.integers("layers") == (-1, 61)
        assert layer.integer("size") == 7
        assert layer.integer("stride", 2) == 2

    def test_real_numbers_as_c_writes_them(self):
        layer = first_layer("anchors=.5, 1e2,-3.")
        assert layer.numbers("anchors") == (0.5, 100.0, -3.0)
        assert layer.number("none", 0.25, low=0, high=1) == 0.25

    def test_flags_are_zero_or_not(self):
        layer = first_layer("pad=1", "cbn=0", "bn=-2")
        assert [layer.flag(name) for name in ("pad", "cbn", "bn", "absent")] == [1, 0, 1, 0]

    @pytest.mark.parametrize(
        "text", ["abc", "3x", "1.0", "", "1_000", "٣", "--1", "0x10", "9" * 31]
    )
    def test_an_integer_that_is_none_is_refused_at_its_line(self, text):
        with pytest.raises(ConfigError, match=r"^x\.cfg:3 \[convolutional\] size=.* an integer"):
            first_layer(f"size={text}").integer("size")

    @pytest.mark.parametrize(
        "text", ["abc", "nan", "inf", "-infinity", "1e999", "1_0", "٣", "1,,2"]
    )
    def test_a_number_that_is_none_is_refused_at_its_line(self, text):
        with pytest.raises(ConfigError, match=r"^x\.cfg:3 \[convolutional\] anchors=.* a number"):
            first_layer(f"anchors={text}").numbers("anchors")

    @pytest.mark.parametrize("text", ["0", "-1", "11", str(INT_MAX + 1), "9" * 30])
    def test_an_integer_out_of_range_is_refused_with_the_range(self, text):
        with pytest.raises(ConfigError, match=rf"size={text} must be from 1 to 10$"):
            first_layer(f"size={text}").integer("size", low=1, high=10)

    def test_a_number_out_of_range_is_refused_with_the_range(self):
        with pytest.raises(ConfigError, match=r"x\.cfg:3 .*scale=3 must be from 0 to 2$"):
            first_layer("scale=3").number("scale", 1, low=0, high=2)

    def test_a_missing_option_is_refused_at_the_sections_line(self):
        with pytest.raises(ConfigError, match=r"^x\.cfg:2 \[convolutional\] has no layers=$"):
            first_layer().integers("layers")


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "x.cfg: a cfg starts with [net] or [network], found no section at all"),
            ("[conv]", "x.cfg: a cfg starts with [net] or [network], found [convolutional]"),
            ("[net]\nwidth=1", "x.cfg: there is no layer after [net]"),
            ("\nsize=3\n[net]", "x.cfg:2 'size=3' stands before any [section]"),
            ("[net]\nnonsense", "x.cfg:2 expected name=value, found 'nonsense'"),
            ("[net]\n=3", "x.cfg:2 expected name=value, found '=3'"),
            ("[net]\n[conv", "x.cfg:2 expected [section], found '[conv'"),
            ("[net]\n[]", "x.cfg:2 expected [section], found '[]'"),
        ],
    )
    def test_the_message_says_place_and_finding(self, text, message):
        assert refusal(text) == message

    def test_long_lines_are_shortened_in_messages(self):
        assert len(refusal("[net]\n" + "x" * 10**6)) < 200
        with pytest.raises(ConfigError) as caught:
            first_layer("size=" + "9" * 10**6).integer("size")
        assert len(str(caught.value)) < 300

    def test_terminal_escapes_in_a_cfg_stay_out_of_messages(self):
        with pytest.raises(ConfigError) as caught:
            first_layer("size=\x1b[2J").integer("size")
        assert str(caught.value).isprintable()
        assert refusal("[net]\n\x1b[2J").isprintable()
        assert refusal("[\x1b[2J]").isprintable()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["conv", "yolo", "x"]),
            st.dictionaries(
                st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
                st.from_regex(r"[a-z0-9.,-]{0,8}", fullmatch=True),
                max_size=4,
            ),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["", " ", "\t", "   # note", " ; note"]),
)
def test_what_is_written_is_read(sections, trailer):
    lines = ["[net]"]
    expected = []
    for kind, options in sections:
        lines.append(f"[{kind}]{trailer}")
        line = len(lines)
        lines += [
            f" {name} ={trailer[:1].strip()} {value}{trailer}" for name, value in options.items()
        ]
        expected.append((ALIASES.get(kind, kind), line, options))
    layers = parse_config("\n".join(lines)).layers
    assert [(layer.kind, layer.line, texts(layer)) for layer in layers] == expected
