"""From cfg to graph: every layer's fields, Darknet's defaults, and every refusal with its line."""

import time
import tracemalloc

import pytest

from tinyyolo3.darknet.config import parse_config, read_config
from tinyyolo3.errors import ConfigError, InputError
from tinyyolo3.network import specs
from tinyyolo3.network.build import OUT_OF_SCOPE, build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parity import FLAVOURS, find_parity
from tinyyolo3.network.sections import UNSUPPORTED_CONVOLUTIONS

NET = "[net]\nwidth=16\nheight=12\nchannels=4\n"
YOLO = "[yolo]\nclasses=1\nnum=2\nanchors=1,2,3,4"


def build(*sections: str, net: str = NET, parity: str = "alexeyab", **size) -> Graph:
    config = parse_config(net + "\n".join(sections), "x.cfg")
    return build_graph(config, parity=find_parity(parity), **size)


def layer(*sections: str, **options) -> specs.Layer:
    """The last layer of a network for a 16x12 input of 4 channels."""
    return build(*sections, **options).layers[-1]


def refusal(*sections: str, net: str = NET, **size) -> str:
    with pytest.raises(ConfigError) as caught:
        build(*sections, net=net, **size)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestEveryLayerKind:
    def test_what_all_layers_know(self):
        found = layer("[conv]\nfilters=8", "[maxpool]\nsize=2\nstride=2")
        assert (found.index, found.line, found.inputs) == (1, 7, (0,))
        assert (found.input_shapes, found.output_shape) == (((8, 12, 16),), (8, 6, 8))
        assert layer("[avgpool]").inputs == (-1,)
        assert layer("[avgpool]").input_shapes == ((4, 12, 16),)

    def test_convolutional(self):
        found = layer(
            "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=2\npad=1\n"
            "groups=2\nactivation=leaky"
        )
        assert found == specs.Convolutional(
            index=0,
            line=5,
            inputs=(-1,),
            input_shapes=((4, 12, 16),),
            output_shape=(6, 6, 8),
            filters=6,
            size=3,
            stride=(2, 2),
            padding=1,
            dilation=1,
            groups=2,
            batch_normalize=True,
            activation="leaky",
        )

    def test_darknet_convolution_defaults(self):
        found = layer("[conv]")
        assert (found.filters, found.size, found.stride, found.padding) == (1, 1, (1, 1), 0)
        assert (found.dilation, found.groups, found.batch_normalize) == (1, 1, False)
        assert found.activation == "logistic"

    def test_darknet_pad_flag_beats_padding(self):
        assert layer("[conv]\nsize=5\npad=1\npadding=0").padding == 2
        assert layer("[conv]\nsize=5\npad=0\npadding=1").padding == 1
        assert layer("[conv]\nsize=1\npad=1\npadding=3").padding == 0

    def test_darknet_dilation_is_ignored_by_1x1_kernels(self):
        assert layer("[conv]\nsize=1\ndilation=4").dilation == 1
        found = layer("[conv]\nsize=3\ndilation=4\npad=1")
        assert (found.dilation, found.output_shape) == (4, (1, 12, 16))

    @pytest.mark.parametrize(("kind", "shape"), [("conv", (1, 4, 8)), ("maxpool", (4, 4, 8))])
    def test_strides_of_both_directions(self, kind, shape):
        found = layer(f"[{kind}]\nsize=1\nstride_x=2\nstride_y=3")
        assert (found.stride, found.output_shape) == ((3, 2), shape)
        assert layer(f"[{kind}]\nsize=1\nstride=4\nstride_x=2").stride == (4, 2)

    def test_cross_iteration_batch_norm_is_batch_norm_at_inference(self):
        assert layer("[conv]\ncbn=1").batch_normalize

    def test_connected(self):
        found = layer("[connected]\noutput=7\nbatch_normalize=1\nactivation=relu")
        assert (found.outputs, found.batch_normalize, found.activation) == (7, True, "relu")
        assert found.output_shape == (7, 1, 1)

    def test_darknet_connected_defaults(self):
        found = layer("[connected]")
        assert (found.outputs, found.batch_normalize, found.activation) == (1, False, "logistic")

    def test_darknet_maxpool_size_is_the_stride_and_padding_size_minus_one(self):
        found = layer("[maxpool]\nstride=3")
        assert (found.size, found.stride, found.padding) == (3, (3, 3), 2)
        found = layer("[maxpool]\nsize=2")
        assert (found.size, found.stride, found.padding) == (2, (1, 1), 1)
        assert found.output_shape == (4, 12, 16)  # yolov3-tiny's layer 11
        assert layer("[maxpool]\nsize=2\nstride=2\npadding=0", net=NET.replace("12", "13")) == (
            specs.Maxpool(
                index=0,
                line=5,
                inputs=(-1,),
                input_shapes=((4, 13, 16),),
                output_shape=(4, 6, 8),
                size=2,
                stride=(2, 2),
                padding=0,
            )
        )

    def test_darknet_maxpool_of_5x5_by_2_is_3x3(self):
        net = "[net]\nwidth=5\nheight=5\n"
        assert layer("[maxpool]\nsize=2\nstride=2", net=net).output_shape == (3, 3, 3)

    def test_avgpool(self):
        assert layer("[avgpool]").output_shape == (4, 1, 1)

    def test_darknet_upsample_doubles_by_default(self):
        found = layer("[upsample]")
        assert (found.stride, found.scale, found.output_shape) == (2, 1.0, (4, 24, 32))
        found = layer("[upsample]\nstride=3\nscale=.5")
        assert (found.stride, found.scale, found.output_shape) == (3, 0.5, (4, 36, 48))

    def test_darknet_route_counts_back_when_negative_and_from_0_otherwise(self):
        found = layer("[conv]\nfilters=2", "[conv]\nfilters=8", "[route]\nlayers=-1,0,-2")
        assert (found.inputs, found.output_shape) == ((1, 0, 0), (12, 12, 16))
        assert (found.groups, found.group_id) == (1, 0)

    def test_route_takes_one_group_of_each_input(self):
        found = layer(
            "[conv]\nfilters=4", "[conv]\nfilters=8", "[route]\nlayers=0,1\ngroups=2\ngroup_id=1"
        )
        assert (found.groups, found.group_id, found.output_shape) == (2, 1, (6, 12, 16))

    def test_shortcut_with_several_sources(self):
        found = layer("[conv]\nfilters=4", "[conv]\nfilters=2", "[conv]", "[shortcut]\nfrom=-2,0")
        assert (found.inputs, found.output_shape) == ((2, 1, 0), (1, 12, 16))
        assert found.activation == "linear"

    def test_shortcut_of_half_the_size(self):
        found = layer("[conv]\nfilters=4", "[maxpool]\nstride=2", "[shortcut]\nfrom=0")
        assert found.output_shape == (4, 6, 8)

    def test_scale_channels(self):
        found = layer("[conv]\nfilters=4", "[avgpool]", "[scale_channels]\nfrom=0")
        assert (found.inputs, found.output_shape, found.scale_wh) == ((1, 0), (4, 12, 16), False)
        found = layer("[conv]\nfilters=4", "[conv]", "[scale_channels]\nfrom=0\nscale_wh=1")
        assert (found.inputs, found.output_shape, found.scale_wh) == ((1, 0), (4, 12, 16), True)

    def test_sam(self):
        found = layer("[conv]", "[conv]", "[sam]\nfrom=-2\nactivation=mish")
        assert (found.inputs, found.output_shape, found.activation) == ((1, 0), (1, 12, 16), "mish")

    def test_dropout_and_cost_keep_the_shape(self):
        assert layer("[dropout]").output_shape == (4, 12, 16)
        assert layer("[conv]", "[cost]").output_shape == (1, 12, 16)

    def test_softmax(self):
        found = layer("[softmax]\ngroups=3\ntemperature=2")
        assert (found.groups, found.temperature, found.output_shape) == (3, 2.0, (4, 12, 16))

    def test_reorg(self):
        found = layer("[reorg]\nstride=2")
        assert (found.stride, found.output_shape) == (2, (16, 6, 8))

    def test_yolo(self):
        found = layer(
            "[conv]\nfilters=14",
            "[yolo]\nmask=2,0\nclasses=2\nnum=3\nanchors=1,2, 3,4, 5,6.5\n"
            "scale_x_y=1.05\nnms_kind=diounms\nbeta_nms=.8\nnew_coords=1\nagnostic_nms=1",
        )
        assert found == specs.Yolo(
            index=1,
            line=7,
            inputs=(0,),
            input_shapes=((14, 12, 16),),
            output_shape=(14, 12, 16),
            classes=2,
            anchors=((5, 6.5), (1, 2)),
            mask=(2, 0),
            scale_x_y=1.05,
            new_coords=True,
            nms_kind="diounms",
            beta_nms=0.8,
            agnostic_nms=True,
        )

    def test_darknet_yolo_defaults(self):
        found = layer("[conv]\nfilters=25", "[yolo]\nanchors=1,2")
        assert (found.classes, found.mask, found.anchors) == (20, (0,), ((1, 2),))
        assert (found.scale_x_y, found.new_coords, found.nms_kind) == (1.0, False, "default")
        assert (found.beta_nms, found.agnostic_nms) == (0.6, False)

    def test_darknet_yolo_without_a_mask_uses_all_anchors(self):
        found = layer("[conv]\nfilters=12", YOLO)
        assert (found.mask, found.anchors) == ((0, 1), ((1, 2), (3, 4)))

    def test_darknet_anchors_beyond_num_are_ignored(self):
        found = layer("[conv]\nfilters=12", YOLO + ",5,6,7")
        assert found.anchors == ((1, 2), (3, 4))

    def test_region(self):
        found = layer(
            "[conv]\nfilters=14",
            "[region]\nclasses=2\nnum=2\ncoords=4\nsoftmax=1\nanchors=1,2, .5,4",
        )
        assert (found.classes, found.anchors, found.softmax) == (2, ((1, 2), (0.5, 4)), True)


class TestParity:
    @pytest.mark.parametrize(
        ("name", "activation"),
        [("alexeyab", "logistic"), ("pjreddie", "logistic"), ("opencv", "linear")],
    )
    def test_darknet_activation_is_logistic_and_opencvs_linear(self, name, activation):
        assert layer("[conv]", parity=name).activation == activation
        assert layer("[connected]", parity=name).activation == activation

    @pytest.mark.parametrize(
        ("name", "factors"), [("alexeyab", (1, 1)), ("pjreddie", (2, 3)), ("opencv", (1, 1))]
    )
    def test_darknet_shortcut_factors_are_pjreddies_alone(self, name, factors):
        found = layer("[conv]", "[conv]", "[shortcut]\nfrom=0\nalpha=2\nbeta=3", parity=name)
        assert (found.alpha, found.beta) == factors

    def test_graph_remembers_its_flavour(self):
        assert build("[conv]", parity="opencv").parity is FLAVOURS["opencv"]

    def test_unknown_flavour(self):
        with pytest.raises(InputError, match="parity='onnx' is unknown; known are alexeyab, pj"):
            find_parity("onnx")


class TestReferencesToOtherLayers:
    @pytest.mark.parametrize("target", [-3, -61, 2, 3, 61])
    @pytest.mark.parametrize("option", ["[route]\nlayers", "[shortcut]\nfrom", "[sam]\nfrom"])
    def test_before_the_network_itself_and_forward_are_refused(self, option, target):
        message = refusal("[conv]", "[conv]", f"{option}={target}")
        layer_index = target if target >= 0 else 2 + target
        assert message.startswith("x.cfg:8 [")
        assert f"leaves the network: {target} is layer {layer_index} (2 layers so far)" in message

    def test_a_first_layer_has_nothing_to_refer_to(self):
        assert "-1 is layer -1 (0 layers so far)" in refusal("[route]\nlayers=-1")

    @pytest.mark.parametrize("text", ["", "a", "-1,", "1.5"])
    def test_something_that_is_no_layer(self, text):
        assert "x.cfg:7 [route] layers=" in refusal("[conv]", f"[route]\nlayers={text}")

    @pytest.mark.parametrize("kind", ["scale_channels", "sam"])
    def test_only_one_source_where_one_is_read(self, kind):
        message = refusal("[conv]", "[conv]", f"[{kind}]\nfrom=0,1")
        assert message == f"x.cfg:8 [{kind}] from=0,1 must name one layer"

    @pytest.mark.parametrize("kind", ["route", "shortcut", "scale_channels", "sam"])
    def test_a_source_is_required(self, kind):
        option = "layers" if kind == "route" else "from"
        assert refusal("[conv]", f"[{kind}]") == f"x.cfg:6 [{kind}] has no {option}="


class TestShapesThatDoNotFit:
    def test_route_of_different_sizes_names_them_and_the_network_input(self):
        message = refusal("[conv]", "[maxpool]\nstride=2", "[route]\nlayers=0,1")
        assert message == (
            "x.cfg:8 [route] joins maps of different size: 16x12x1 with 8x6x1 (network input 16x12)"
        )

    def test_an_odd_input_size_is_to_blame_in_the_message(self, tiny_cfg):
        config = parse_config(tiny_cfg, "tiny.cfg")
        build_graph(config, width=64, height=96)
        with pytest.raises(ConfigError, match=r"tiny\.cfg:\d+ \[route\] joins .*input 52x36\)$"):
            build_graph(config, width=52, height=36)

    @pytest.mark.parametrize(
        ("sections", "message"),
        [
            (["[conv]\nsize=20"], "x.cfg:5 [convolutional] a 20x20 kernel does not fit on its"),
            (["[conv]\nsize=3\ndilation=8"], "a 17x17 kernel does not fit on its input 16x12x4"),
            (["[maxpool]\nsize=20\npadding=0"], "x.cfg:5 [maxpool] a 20x20 window does not fit"),
            (["[conv]\ngroups=3"], "groups=3 must divide the 4 input channels and the 1 filters"),
            (["[conv]\ngroups=2"], "groups=2 must divide the 4 input channels and the 1 filters"),
            (["[conv]", "[route]\nlayers=0\ngroups=2"], "x.cfg:6 [route] groups=2 must divide"),
            (["[reorg]\nstride=3"], "x.cfg:5 [reorg] stride=3 must divide height and width"),
            (["[softmax]\ngroups=5"], "x.cfg:6 [softmax] groups=5 must divide its 768 inputs"),
            (["[conv]", "[conv]", "[scale_channels]\nfrom=0"], "scales 16x12x1 by 16x12x1, exp"),
            (["[conv]", "[conv]\nfilters=2", "[sam]\nfrom=0"], "multiplies 16x12x2 with 16x12x1"),
            (
                ["[conv]", "[maxpool]\nsize=1\nstride_y=5", "[shortcut]\nfrom=0"],
                "x.cfg:9 [shortcut] adds maps whose sizes are not one multiple",
            ),
        ],
    )
    def test_the_message_names_both(self, sections, message):
        assert message in refusal(*sections)


class TestOptionsThatCannotBe:
    @pytest.mark.parametrize("value", ["0", "-1", "-2147483648", "2147483648", "9" * 25, "1.5", ""])
    @pytest.mark.parametrize(
        ("kind", "option"),
        [
            *(("conv", name) for name in ("filters", "size", "stride", "stride_x", "groups")),
            ("connected", "output"),
            *(("maxpool", name) for name in ("size", "stride", "stride_y")),
            ("upsample", "stride"),
            ("reorg", "stride"),
            ("softmax", "groups"),
        ],
    )
    def test_counts_and_lengths_are_positive_and_sane(self, kind, option, value):
        section = f"[{kind}]\n{option}={value}"
        assert f"{option}={value}" in refusal(section)
        assert refusal(section).startswith("x.cfg:6 [")

    @pytest.mark.parametrize("kind", ["conv", "maxpool"])
    def test_padding_may_be_zero_and_not_negative(self, kind):
        layer(f"[{kind}]\npadding=0")
        assert "padding=-1 must be from 0 to " in refusal(f"[{kind}]\npadding=-1")

    def test_dilation_is_positive(self):
        assert "dilation=0 must be from 1 to " in refusal("[conv]\nsize=3\ndilation=0")

    @pytest.mark.parametrize("group_id", [-1, 2])
    def test_group_id_is_one_of_the_groups(self, group_id):
        message = refusal("[conv]\nfilters=2", f"[route]\nlayers=0\ngroups=2\ngroup_id={group_id}")
        assert message == f"x.cfg:10 [route] group_id={group_id} must be from 0 to 1"

    @pytest.mark.parametrize("kind", ["conv", "connected"])
    def test_an_unknown_activation_is_named_with_the_known(self, kind):
        message = refusal(f"[{kind}]\nactivation=reluu")
        assert message.startswith("x.cfg:6 [")
        assert "activation=reluu is unknown; known are " in message
        assert "leaky" in message

    @pytest.mark.parametrize("option", UNSUPPORTED_CONVOLUTIONS)
    def test_convolution_options_that_change_the_numbers_are_refused(self, option):
        message = refusal(f"[conv]\n{option}=1")
        assert message == f"x.cfg:6 [convolutional] {option}=1 is not supported"
        layer(f"[conv]\n{option}=0")

    @pytest.mark.parametrize(
        ("section", "what"),
        [
            ("[maxpool]\nmaxpool_depth=1", "maxpool_depth=1 is"),
            ("[maxpool]\nantialiasing=1", "antialiasing=1 is"),
            ("[route]\nstream=1\nlayers=0", "stream=1 is"),
            ("[softmax]\ntree=data/9k.tree", "tree=data/9k.tree is"),
            ("[softmax]\nspatial=1", "spatial=1 is"),
            ("[reorg]\nreverse=1", "reverse=1 is"),
            ("[shortcut]\nfrom=0\nweights_type=per_feature", "weights_type=per_feature is"),
            ("[region]\ntree=x", "tree= (a word tree of classes) is"),
            ("[region]\nmap=x", "map= (a word tree of classes) is"),
            ("[region]\nbackground=1", "background=1 is"),
            ("[region]\nclassfix=-1", "classfix=-1 is"),
        ],
    )
    def test_other_options_that_change_the_numbers_are_refused(self, section, what):
        assert f"{what} not supported" in refusal("[conv]", section)

    def test_region_has_four_coordinates(self):
        assert refusal("[conv]", "[region]\ncoords=5") == "x.cfg:7 [region] coords= must be 4"

    @pytest.mark.parametrize("kind", sorted(OUT_OF_SCOPE))
    def test_known_sections_out_of_scope(self, kind):
        message = refusal("[conv]", f"[{kind}]")
        assert message == f"x.cfg:6 [{kind}] sections of this kind are not supported"

    def test_unknown_sections_are_told_the_known(self):
        message = refusal("[conv]", "[convolutionel]")
        assert message.startswith("x.cfg:6 [convolutionel] unknown section; known are conv")
        assert message.endswith("yolo, region")

    def test_a_network_of_nothing_but_costs(self):
        assert refusal("[cost]", "[cost]") == "x.cfg: there is no layer but [cost]"


class TestHeads:
    @pytest.mark.parametrize("filters", [11, 13, 255])
    def test_wrong_filters_are_told_the_formula(self, filters):
        assert refusal(f"[conv]\nfilters={filters}", YOLO) == (
            "x.cfg:7 [yolo] needs filters=(classes+5)*len(mask) = (1+5)*2 = 12 in the layer before "
            f"it, which has {filters} channels"
        )

    def test_wrong_filters_before_region(self):
        message = refusal("[conv]\nfilters=3", YOLO.replace("yolo", "region"))
        assert "needs filters=(classes+5)*num = (1+5)*2 = 12 in the layer before it" in message

    @pytest.mark.parametrize("kind", ["yolo", "region"])
    def test_a_head_cannot_come_first(self, kind):
        message = refusal(YOLO.replace("yolo", kind), net=NET.replace("=4", "=12"))
        assert message.startswith(f"x.cfg:5 [{kind}] needs a layer before it")

    @pytest.mark.parametrize("entry", [-1, 2, 9])
    def test_mask_names_anchors_that_exist(self, entry):
        message = refusal("[conv]\nfilters=12", f"{YOLO}\nmask=0,{entry}")
        assert message == f"x.cfg:11 [yolo] mask=0,{entry}: {entry} is not one of the num=2 anchors"

    def test_too_few_anchors(self):
        message = refusal("[conv]\nfilters=12", YOLO.replace("num=2", "num=3"))
        assert message == "x.cfg:10 [yolo] anchors= has 4 numbers; num=3 anchors need 6"

    def test_no_anchors(self):
        assert refusal("[conv]\nfilters=6", "[yolo]\nclasses=1") == "x.cfg:7 [yolo] has no anchors="

    @pytest.mark.parametrize("value", ["0", "-3", "1e30"])
    def test_anchors_are_positive_and_sane(self, value):
        message = refusal("[conv]\nfilters=12", YOLO.replace("3", value))
        assert message.startswith("x.cfg:10 [yolo] anchors= holds ")

    @pytest.mark.parametrize(
        "option", ["classes=0", "num=0", "classes=-1", "num=5000", "classes=1.0"]
    )
    def test_counts(self, option):
        message = refusal("[conv]\nfilters=12", f"[yolo]\n{option}\nanchors=1,2")
        assert message.startswith(f"x.cfg:8 [yolo] {option}")

    @pytest.mark.parametrize("option", ["scale_x_y=0", "scale_x_y=nan", "beta_nms=-1"])
    def test_factors(self, option):
        message = refusal("[conv]\nfilters=12", f"{YOLO}\n{option}")
        assert message.startswith(f"x.cfg:11 [yolo] {option}")

    def test_unknown_nms_kind(self):
        message = refusal("[conv]\nfilters=12", f"{YOLO}\nnms_kind=soft")
        assert "x.cfg:11 [yolo] nms_kind=soft is unknown; known are default, greedynms" in message

    def test_heads_that_disagree_on_classes(self):
        other = YOLO.replace("classes=1", "classes=2")
        message = refusal("[conv]\nfilters=12", YOLO, "[conv]\nfilters=14", other)
        assert message == ("x.cfg:13 [yolo] classes=2, but the head at line 7 has classes=1")


class TestOutputs:
    def test_a_detectors_outputs_are_the_inputs_of_its_heads(self, tiny_cfg):
        graph = build_graph(parse_config(tiny_cfg))
        assert [head.index for head in graph.heads] == [6, 11]
        assert graph.output_indices == (5, 10)

    def test_a_classifiers_output_is_its_last_layer_that_is_no_cost(self):
        graph = build("[conv]", "[avgpool]", "[softmax]", "[cost]")
        assert graph.heads == ()
        assert graph.output_indices == (2,)

    def test_layers_after_the_last_head_do_not_matter(self):
        assert build("[conv]\nfilters=12", YOLO, "[conv]").output_indices == (0,)


class TestInputSize:
    def test_width_and_height_need_not_be_equal(self):
        assert build("[conv]", width=20, height=8).input_shape == (4, 8, 20)
        assert build("[conv]", width=20).input_shape == (4, 12, 20)

    def test_channels_are_three_by_default(self):
        assert build("[conv]", net="[net]\nwidth=16\nheight=12\n").input_shape == (3, 12, 16)

    @pytest.mark.parametrize("value", [0, -32, 16385, 10**12])
    def test_absurd_sides(self, value):
        with pytest.raises(InputError, match=f"width={value} must be from 1 to 16384"):
            build("[conv]", width=value)
        message = refusal("[conv]", net=NET.replace("width=16", f"width={value}"))
        assert message == f"x.cfg:2 [net] width={value} must be from 1 to 16384"

    @pytest.mark.parametrize("value", [416.0, "416", True])
    def test_sides_are_integers(self, value):
        with pytest.raises(InputError, match="height must be an integer, not "):
            build("[conv]", height=value)

    def test_width_and_height_are_required(self):
        assert refusal("[conv]", net="[net]\n") == "x.cfg:1 [net] has no height="


class TestAbsurdSizes:
    """Nothing is allocated: a graph is only integers."""

    CASES = (
        (["[conv]\nfilters=16000000\nsize=3\npad=1"], "its output would have 16000000x12x16"),
        (["[connected]\noutput=16000000"], "the network would have 12,304,000,000 parameters"),
        (["[upsample]\nstride=65536"], "its output would have 4x786432x1048576"),
        (["[conv]\npadding=65536\nsize=1"], "its output would have 1x131084x131088"),
        (
            ["[conv]\nfilters=100000", "[conv]\nfilters=16000\nsize=5\npad=1\nstride=9"],
            "parameters",
        ),
        (["[conv]"] + ["[upsample]\nstride=2"] * 40, "its output would have 1x"),
        (["[conv]\nsize=3\npad=1\ndilation=65535"], "its padded input would have 4x131082x131086"),
        (["[maxpool]\nsize=9\nstride=999\npadding=65536"], "its padded input would have 4x65548x"),
        (["[conv]"] + ["[route]\nlayers=" + ",".join(["-1"] * 100)] * 9, "its output would have"),
    )

    @pytest.mark.parametrize(("sections", "message"), CASES)
    def test_terabytes_are_refused_before_allocating(self, sections, message):
        tracemalloc.start()
        begin = time.perf_counter()
        found = refusal(*sections)
        seconds = time.perf_counter() - begin
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert message in found
        assert found.endswith("; the limit is 2,147,483,648")
        assert peak < 2**20
        assert seconds < 1

    def test_an_absurd_input(self):
        net = "[net]\nwidth=16384\nheight=16384\nchannels=9\n"
        assert "x.cfg:1 [net] the network's input would have 9x16384x16384 = " in refusal(
            "[conv]", net=net
        )

    def test_parameters_are_limited_in_sum_too(self):
        section = "[conv]\nsize=1\nfilters=40000"
        message = refusal(*[section] * 3, net="[net]\nwidth=1\nheight=1\n")
        assert message.startswith("x.cfg:10 [convolutional] with it the network would have ")


@pytest.mark.parametrize(
    ("cfg", "layers", "heads"), [("yolov3", 107, 3), ("yolov3-tiny", 24, 2), ("yolov3-spp", 114, 3)]
)
def test_known_networks(reference, cfg, layers, heads):
    graph = build_graph(read_config(reference / "cfg" / f"{cfg}.cfg"))
    assert (len(graph.layers), len(graph.heads)) == (layers, heads)


def test_every_network_of_the_collection_can_be_built(reference):
    cfgs = sorted((reference / "cfg_collection").glob("*.cfg"))
    assert len(cfgs) == 16
    for cfg in cfgs:
        build_graph(read_config(cfg))
