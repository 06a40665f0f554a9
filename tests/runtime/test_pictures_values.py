"""Values: every kind of the schema can be drawn, and what is drawn means what the schema says."""

import base64
import io
import json
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures

from fourm_runtime.pictures.colours import NEUTRAL, class_colours, hex_colour, ramp
from fourm_runtime.pictures.page import Block, Figure, Legend, Png, Stack, Svg, Table, Text
from fourm_runtime.pictures.raster import png_of
from fourm_runtime.pictures.values import backdrop_of, draw_value, picture_of
from fourm_schema.errors import CodecError
from fourm_schema.load import parse_schema
from fourm_schema.modality import Image, Modality, Set, Vector
from fourm_schema.modality import Text as Texts
from fourm_schema.strategies import values
from tests.runtime.drawn_entries import MARKUP, entries
from tests.runtime.markup import read_blocks, tree_of

SVG = "{http://www.w3.org/2000/svg}"
PAPER = png_of(np.full((4, 8, 3), 200, np.uint8), "paper")


def pixels(picture: Png) -> np.ndarray:
    return np.asarray(Pictures.open(io.BytesIO(picture.data)))


def image(cell: Mapping[str, object], size: object = 2) -> Image:
    return Image.model_validate({"kind": "image", "size": size, "patch": 1, "cell": dict(cell)})


def records(fields: Mapping[str, object], max_items: int = 60) -> Set:
    return Set.model_validate({"kind": "set", "max_items": max_items, "fields": dict(fields)})


def drawings(block: Block) -> list[Svg]:
    """The drawings of figures, in order."""
    if isinstance(block, Stack):
        return [svg for part in block.blocks for svg in drawings(part)]
    return [block.picture] if isinstance(block, Figure) and isinstance(block.picture, Svg) else []


@settings(max_examples=150)
@given(st.data(), entries(), st.booleans())
def test_whatever_a_modality_can_hold_can_be_drawn(
    data: st.DataObject, entry: Modality, on_paper: bool
) -> None:
    """A sheet of samples must not end at the first odd value; what is odd is what one looks for."""
    value = data.draw(values(entry))
    block = draw_value(entry, value, f"name {MARKUP}", PAPER if on_paper else None)
    page = read_blocks(block)

    assert "i" not in page.tags
    if isinstance(entry, Image):
        assert any(tag == "img" and MARKUP in text for tag, name, text in page.attributes if name == "alt")
    if isinstance(entry, Set):
        has_places = any(field.type in ("box", "point") for field in entry.fields.values())
        assert len(drawings(block)) == (has_places and value != [])
    for svg in drawings(block):
        tree_of(svg)


@given(entries())
def test_an_absent_value_says_so(entry: Modality) -> None:
    assert "absent" in read_blocks(draw_value(entry, None)).texts


def test_one_channel_is_grey_and_a_quantity_has_the_colours_of_the_ramp() -> None:
    """Brightness is for what was bright; a depth in metres is not."""
    grey = image({"type": "continuous", "range": [0, 16], "levels": 17})
    depth = image({"type": "continuous", "range": [0, 16], "unit": "metre"})
    value = [[0, 16], [8, 4]]

    assert pixels(picture_of(grey, value)).tolist() == [[0, 255], [128, 64]]
    assert pixels(picture_of(depth, value)).tolist() == ramp()[[[0, 255], [128, 64]]].tolist()
    assert "0 to 16 metre" in read_blocks(draw_value(depth, value)).texts


def test_the_ramp_grows_lighter_from_end_to_end() -> None:
    """What is more must look like more, on a grey printer too (Rec. 709 luma)."""
    luma = ramp() @ np.array([0.2126, 0.7152, 0.0722])

    assert (np.diff(luma) > -1.0).all() and luma[0] < 40 and luma[-1] > 220


def test_three_channels_are_red_green_and_blue() -> None:
    entry = image({"type": "continuous", "channels": 3, "range": [0, 1]}, [1, 2])

    assert pixels(picture_of(entry, [[[1, 0, 0], [0, 0.5, 1]]])).tolist() == [[[255, 0, 0], [0, 128, 255]]]


def test_a_direction_is_the_colour_of_its_vector() -> None:
    entry = image({"type": "direction"}, [1, 2])

    assert pixels(picture_of(entry, [[[0, 0, 1], [-1, 0, 0]]])).tolist() == [[[128, 128, 255], [0, 128, 128]]]


def test_features_are_drawn_alike_whatever_their_order_or_scale() -> None:
    """Principal components do not depend on which channel comes first, and their signs are fixed."""
    rng = np.random.default_rng(0)
    cells = rng.standard_normal((6, 6, 5)) * [9, 5, 2, 1, 0.5]
    entry = image({"type": "features", "channels": 5}, 6)
    drawn = pixels(picture_of(entry, cells)).astype(int)

    assert np.abs(pixels(picture_of(entry, 100 * cells[..., ::-1])) - drawn).max() <= 1
    assert drawn.reshape(-1, 3).min(axis=0).tolist() == [0, 0, 0]


def test_features_that_do_not_differ_are_grey() -> None:
    entry = image({"type": "features", "channels": 4})

    assert np.unique(pixels(picture_of(entry, np.ones((2, 2, 4))))).tolist() == [128]


def test_a_class_has_one_colour_in_every_picture_and_the_ignored_one_has_none() -> None:
    entry = image({"type": "categorical", "classes": ["paper", "ink", "edge"], "ignore": "edge"})
    block = draw_value(entry, [[0, 1], [1, 2]])

    assert pixels(picture_of(entry, [[0, 1], [1, 2]])).tolist() == [
        [class_colours(0).tolist(), class_colours(1).tolist()],
        [class_colours(1).tolist(), list(NEUTRAL)],
    ]
    assert isinstance(block, Stack) and isinstance(block.blocks[1], Legend)
    assert block.blocks[1].entries == [
        ("ink 50%", hex_colour(class_colours(1))),
        ("paper 25%", hex_colour(class_colours(0))),
        ("edge 25%", hex_colour(NEUTRAL)),
    ]


def test_the_first_classes_can_be_told_apart() -> None:
    colours = class_colours(np.arange(12)).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + 1000 * np.eye(12, dtype=int)

    assert apart.min() > 60


def test_a_vector_has_a_bar_per_number_until_they_are_many() -> None:
    few = Vector.model_validate(
        {
            "kind": "vector",
            "dim": 2,
            "names": ["height", "width"],
            "units": ["cell", "cell"],
            "ranges": [0, 8],
        }
    )
    block = draw_value(few, [2.0, 8.0])

    assert isinstance(block, Table)
    assert [row[0] for row in block.rows] == ["height (cell)", "width (cell)"]
    widths = []
    for row in block.rows:
        assert isinstance(row[1], Svg)
        (_, bar, _) = tree_of(row[1]).iter(f"{SVG}rect")
        widths.append(float(bar.get("width", "nan")))
    assert widths == [24.0, 96.0]
    assert (
        len(drawings(draw_value(Vector.model_validate({"kind": "vector", "dim": 512}), np.arange(512)))) == 1
    )


def test_boxes_lie_where_the_schema_puts_them_whatever_their_convention() -> None:
    """One box in three conventions is one box in the picture."""
    given_ = {"xyxy": [0, 2, 5, 4], "xywh": [0, 2, 5, 2], "cxcywh": [2.5, 3, 5, 2]}
    places = set()
    for convention, box in given_.items():
        entry = records({"box": {"type": "box", "range": [0, 10], "convention": convention}})
        (scene,) = drawings(draw_value(entry, [{"box": box}], backdrop=PAPER))
        rect = list(tree_of(scene).iter(f"{SVG}rect"))[-1]
        places.add(tuple(float(rect.get(name, "nan")) for name in ("x", "y", "width", "height")))

    assert places == {(0.0, 24.0, 120.0, 24.0)}


def test_items_are_numbered_and_coloured_by_their_class() -> None:
    entry = records({"at": {"type": "point"}, "label": {"type": "category", "classes": ["cat", MARKUP]}})
    items = [{"at": [0.5, 0.5], "label": MARKUP}, {"at": [0, 1], "label": "cat"}]
    block = draw_value(entry, items)
    (scene,) = drawings(block)
    tree = tree_of(scene)

    assert [text.text for text in tree.iter(f"{SVG}text")] == [f"1 {MARKUP}", "2 cat"]
    assert [dot.get("fill") for dot in tree.iter(f"{SVG}circle")] == [
        hex_colour(class_colours(1)),
        hex_colour(class_colours(0)),
    ]
    assert isinstance(block, Stack) and isinstance(block.blocks[1], Table)
    assert list(block.blocks[1].rows) == [["1", "0.5, 0.5", MARKUP], ["2", "0, 1", "cat"]]


def test_a_crowd_is_numbered_only() -> None:
    """The names of forty boxes on one another cannot be read; the table has them."""
    entry = records({"at": {"type": "point"}, "label": {"type": "category", "classes": ["cat"]}})
    (scene,) = drawings(draw_value(entry, [{"at": [0.5, 0.5], "label": "cat"}] * 9))

    assert [text.text for text in tree_of(scene).iter(f"{SVG}text")] == [str(n) for n in range(1, 10)]


def test_a_single_record_is_a_list_of_its_fields() -> None:
    fields = {
        "hour": {"type": "number", "range": [0, 24], "unit": "h"},
        "north": {"type": "angle", "optional": True},
    }
    block = draw_value(records(fields, max_items=1), {"hour": 13})

    assert isinstance(block, Table)
    assert [list(row) for row in block.rows] == [["hour (h)", 13.0], ["north (degree)", None]]


def test_a_long_set_is_cut_and_says_so() -> None:
    entry = records({"score": {"type": "number", "range": [0, 1]}}, max_items=60)
    block = draw_value(entry, [{"score": 0.5}] * 60)

    assert isinstance(block, Table)
    assert len(block.rows) == 50 and block.caption == "the first 50 of 60 records"
    assert isinstance(empty := draw_value(entry, []), Text) and empty.text == "empty set"


def test_a_mask_is_a_picture_of_itself() -> None:
    """It also lies on the scene; what is no mask is told there is, and not drawn."""
    block = draw_value(records({"mask": {"type": "mask"}}), [{"mask": [[0, 1], [1, 1]]}, {"mask": [3, 1]}])

    assert isinstance(block, Stack)
    figure, table = block.blocks
    assert isinstance(table, Table) and isinstance(figure, Figure) and isinstance(figure.picture, Svg)
    (first, second) = (row[1] for row in table.rows)
    assert isinstance(first, Png) and pixels(first).tolist() == [[0, 255], [255, 255]]
    assert second == "2 numbers"
    assert len([node for node in figure.picture.root if node.tag == "image"]) == 1


def test_a_mask_fills_the_box_of_its_item() -> None:
    """An instance is where its box is, whatever the size of its mask; it hides the photo in part only."""
    entry = records({"box": {"type": "box"}, "mask": {"type": "mask"}})
    block = draw_value(entry, [{"box": [0.25, 0.5, 0.75, 1.0], "mask": [[0, 1], [1, 1]]}])

    assert isinstance(block, Stack)
    figure = block.blocks[0]
    assert isinstance(figure, Figure) and isinstance(figure.picture, Svg)
    (mask,) = (node for node in figure.picture.root if node.tag == "image")
    assert [mask.get(key) for key in ("x", "y", "width", "height")] == ["60", "120", "120", "120"]
    with Pictures.open(io.BytesIO(base64.b64decode(mask.get("href", "").partition(",")[2]))) as seen:
        assert np.asarray(seen)[..., 3].tolist() == [[0, 130], [130, 130]]


def test_named_points_of_a_body_are_joined() -> None:
    """A pose reads as a figure; a point that was not seen takes its bones with it."""
    names = ("left_shoulder", "left_elbow", "left_wrist", "nose", "left_eye")
    entry = records({name: {"type": "point", "optional": True} for name in names})
    item = {"left_shoulder": [0.5, 0.25], "left_elbow": [0.5, 0.5], "nose": [0.5, 0.0]}
    block = draw_value(entry, [item])

    assert isinstance(block, Stack)
    figure, table = block.blocks
    assert isinstance(figure, Figure) and isinstance(figure.picture, Svg) and isinstance(table, Table)
    lines = {(node.get("y1"), node.get("y2")) for node in figure.picture.root if node.tag == "line"}
    assert lines == {("60", "120"), ("0", "60")}
    assert table.rows == [["1", "3 of 5"]]


@pytest.mark.parametrize(
    ("fields", "items"),
    [
        (
            {"color": {"type": "vector", "dim": 3, "range": [0, 255]}},
            [{"color": [255, 0, 0]}, {"color": [0, 0, 255]}],
        ),
        (
            {name: {"type": "number", "range": [0, 1]} for name in "rgb"},
            [{"r": 1.0, "g": 0.0, "b": 0.0}, {"r": 0.0, "g": 0.0, "b": 1.0}],
        ),
    ],
    ids=["one field", "a field for each channel"],
)
def test_a_palette_is_shown_as_its_colours(fields: dict[str, object], items: list[dict[str, object]]) -> None:
    block = draw_value(records(fields), items)

    assert isinstance(block, Stack) and isinstance(block.blocks[0], Figure)
    swatches = block.blocks[0].picture
    assert isinstance(swatches, Svg)
    assert [node.get("fill") for node in swatches.root] == ["#ff0000", "#0000ff"]


def test_the_alternatives_of_a_text_are_all_shown() -> None:
    assert {"a seven", "seven"} <= set(read_blocks(draw_value(TEXT, ["a seven", "seven"])).texts)


def test_boxes_are_drawn_on_the_largest_colour_picture_that_is_there() -> None:
    schema = parse_schema(
        json.dumps(
            {
                "version": 1,
                "modalities": {
                    name: {
                        "kind": "image",
                        "size": size,
                        "patch": 1,
                        "cell": {"type": "continuous", "channels": channels, "range": [0, 1]},
                    }
                    for name, size, channels in (("depth", 8, 1), ("small", 2, 3), ("photo", 4, 3))
                },
            }
        )
    )
    row: dict[str, object] = {
        "depth": np.zeros((8, 8)),
        "small": np.zeros((2, 2, 3)),
        "photo": np.zeros((4, 4, 3)),
    }

    found = [backdrop_of(schema, row | dict.fromkeys(gone)) for gone in ((), ("photo",), ("photo", "small"))]
    assert [picture and picture.alt.partition(":")[0] for picture in found] == ["photo", "small", "depth"]
    assert backdrop_of(schema, {}) is None


TEXT = Texts.model_validate({"kind": "text", "vocabulary": "words", "max_tokens": 9, "views": 2})
PAIR = Vector.model_validate({"kind": "vector", "dim": 2})


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        (
            image({"type": "features", "channels": 2}),
            np.zeros((2, 3, 2)),
            r"mine, value 0: a value has shape",
        ),
        (
            image({"type": "categorical", "classes": 3}),
            [[0, 1], [2, 3]],
            r"mine at \[1, 1\]: classes .* got 3",
        ),
        (records({"north": {"type": "angle"}}), [1.0], r"mine: a value is a list of records .*; got list"),
        (TEXT, 7, r"mine: a value is a string, or several; got int"),
        (PAIR, [1, 2, 3], r"mine, value 0: a value has shape 2; got 3"),
    ],
)
def test_a_value_of_another_form_is_refused_by_name(entry: Modality, value: object, message: str) -> None:
    """A wrong value must not become a wrong picture."""
    with pytest.raises(CodecError, match=message):
        draw_value(entry, value, "mine")
