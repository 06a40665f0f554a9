"""Pictures of masks show what the model gets: token for token, sentinel for sentinel."""

import re
from collections.abc import Iterator

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.batch import Batch, Column, Dense, Grid, Selection, Sequences
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import AllToAll, BudgetEntry, From, Mixture, expand
from fourm_runtime.masking.spans import target_sequence
from fourm_runtime.pictures.mask_draw import StreamDraw, mask_draws
from fourm_runtime.pictures.mask_plan import (
    CELL,
    LINE_CELLS,
    PREDICTED,
    VISIBLE,
    mixture_table,
    picture_masks,
    picture_stream,
    said_component,
)
from fourm_schema.plan import Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.runtime.markup import read_blocks, tree_of

SVG = "{http://www.w3.org/2000/svg}"
GREY = {"type": "continuous", "channels": 1, "range": [0, 16], "levels": 17}
BOTH = ["pixels", "tokens"]
PLAN = resolve(
    Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": 64}},
            "modalities": {
                "digit": {"kind": "image", "size": [4, 6], "patch": 1, "cell": GREY, "shown": BOTH},
                "shape": {"kind": "vector", "dim": 10, "ranges": [0, 1], "bins": 32},
                "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 16},
                "marks": {"kind": "set", "max_items": 6, "fields": {"at": {"type": "point", "bins": 9}}},
            },
        }
    )
)
MIXTURE = expand(
    [
        AllToAll(preset="all_to_all", alpha=[0.1, 1.0, 10.0]),
        From(preset="from", stream="caption", keep="random"),
    ],
    BudgetEntry(input=(0, 40), target=(0, 40)),
    PLAN,
)
EVER = (
    ["digit.pixels", "digit.tokens", "shape.tokens", "caption.tokens", "marks.tokens"],
    ["digit.tokens", "shape.tokens", "caption.tokens", "marks.tokens"],
)
"""Streams that the mixture ever shows, and that it ever asks for."""


def column(stream: Stream, rng: np.random.Generator, size: int) -> Column:
    """Samples of a stream; some lack it, and items of sets are chunks."""
    present = rng.random(size) < 0.8
    if stream.is_dense:
        return Dense(rng.random((size, stream.length, 1), np.float32), present)
    if stream.layout == "grid":
        return Grid(rng.integers(0, stream.vocab_size, (size, stream.length), np.uint8), present)
    first = PLAN.special(stream).size
    items = rng.integers(0, 7 if stream.kind == "set" else 16, size)
    lengths = np.where(present, 2 * items + 1 if stream.kind == "set" else items, 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(first, stream.vocab_size, offsets[-1], np.uint8)
    chunks = [n for k in items[present].tolist() for n in [*[2] * k, 1]] if stream.kind == "set" else None
    return Sequences(ids, offsets, present, None if chunks is None else np.array(chunks, np.int64))


def make_batch(seed: int, size: int) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(rng.integers(0, 10**6, size), {s.name: column(s, rng, size) for s in PLAN.streams})


def laid_out(draw: StreamDraw, ids: list[int], chosen: np.ndarray, among: set[int], first: int) -> list[int]:
    """The chosen tokens with the sentinels that stand between them."""
    found = []
    for place in range(draw.length + 1):
        found += [first + number for at, number in draw.sentinels if at == place and first + number in among]
        if place < draw.length and chosen[place]:
            found.append(ids[place])
    return found


def of_sample(selection: Selection | None, sample: int) -> Iterator[tuple[int, int]]:
    if selection is not None:
        for place, owner in enumerate(selection.samples.tolist()):
            if owner == sample:
                yield int(selection.positions[place]), int(selection.ids[place])


@given(st.integers(0, 2**32), st.integers(0, 2**32), st.integers(0, 9))
def test_the_picture_is_the_mask(content: int, seed: int, epoch: int) -> None:
    """What is drawn is read off a batch of places; what a run sees are ids: both must tell the same."""
    batch, masker = make_batch(content, 3), Masker(PLAN, MIXTURE, seed)
    masked = masker(batch, epoch)

    for sample, draw in enumerate(mask_draws(masker, batch, [epoch] * 3)):
        assert (draw.input_tokens <= draw.input_budget) and (draw.target_tokens <= draw.target_budget)
        for name, each in draw.streams.items():
            inputs = list(of_sample(masked.inputs.get(name), sample))
            targets = list(of_sample(masked.targets.get(name), sample))
            assert (each.input_tokens, each.target_tokens) == (len(inputs), len(targets))
            assert each.present or each.length == each.input_tokens == each.target_tokens == 0
            assert not (each.visible & each.predicted).any()
            stored = batch.columns[name]
            if not isinstance(stored, Sequences):
                assert np.flatnonzero(each.visible).tolist() == [cell for cell, _ in inputs]
                assert np.flatnonzero(each.predicted).tolist() == [cell for cell, _ in targets]
                continue
            ids = stored.ids[stored.offsets[sample] : stored.offsets[sample + 1]].tolist()
            first = PLAN.special(each.stream).first_sentinel
            seen = [identity for _, identity in inputs]
            wanted = target_sequence(masked.targets[name], sample).tolist() if targets else []
            assert laid_out(each, ids, each.visible, set(seen), first) == seen
            assert laid_out(each, ids, each.predicted, set(wanted), first) == wanted


def draw_of(
    grid: tuple[int, ...] | None, visible: list[int], predicted: list[int], length: int
) -> StreamDraw:
    stream = next(s for s in PLAN.streams if s.layout == ("grid" if grid else "sequence") and not s.is_dense)
    shown, wanted = np.zeros(length, np.bool_), np.zeros(length, np.bool_)
    shown[visible], wanted[predicted] = True, True
    return StreamDraw(
        attrs.evolve(stream, grid=grid), True, shown, wanted, (), 9, 9, len(visible), len(predicted)
    )


def squares(draw: StreamDraw) -> dict[str, list[tuple[int, int, int]]]:
    """Colour -> (column, row, cells) of each square or run."""
    found = {}
    for path in tree_of(picture_stream(draw, "epoch 0")).iter(f"{SVG}path"):
        steps = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", path.get("d", ""))
        runs = [(round(float(x) / CELL), round(float(y) / CELL), -(-float(w) // CELL)) for x, y, w in steps]
        found[path.get("fill", "neither")] = [(x, y, int(width)) for x, y, width in runs]
    return found


def test_a_cell_stands_where_it_stands_in_the_image() -> None:
    drawn = squares(draw_of((2, 3), visible=[1], predicted=[3, 5], length=6))

    assert drawn[VISIBLE] == [(1, 0, 1)]
    assert drawn[PREDICTED] == [(0, 1, 1), (2, 1, 1)]
    assert sorted(drawn["neither"]) == [(0, 0, 1), (1, 1, 1), (2, 0, 1)]


def test_cells_of_a_large_grid_are_drawn_as_runs() -> None:
    """A page with a million squares opens on no phone."""
    drawn = squares(
        draw_of((40, 40), visible=[0, 1, 2, 39, 40, 41], predicted=list(range(80, 160)), length=1600)
    )

    assert drawn[VISIBLE] == [(0, 0, 3), (39, 0, 1), (0, 1, 2)]
    assert drawn[PREDICTED] == [(0, 2, 40), (0, 3, 40)]
    assert sum(width for *_, width in drawn["neither"]) == 1600 - 86


def test_sentinels_take_a_place_of_their_own_in_the_line() -> None:
    draw = attrs.evolve(draw_of(None, [0], [1, 2], length=9), sentinels=((1, 1), (9, 2)))
    tree = tree_of(picture_stream(draw, "epoch 0"))

    signs = [(text.text, text.get("x"), text.get("y")) for text in tree.iter(f"{SVG}text")]
    assert signs == [("1", "14.5", "6.9"), ("2", f"{10 % LINE_CELLS * CELL + 4.5:g}", "16.9")]
    assert squares(draw)[VISIBLE] == [(0, 0, 1)]
    assert squares(draw)[PREDICTED] == [(2, 0, 1), (3, 0, 1)]


def test_draws_stand_side_by_side_with_what_they_used() -> None:
    batch, masker = make_batch(3, 2), Masker(PLAN, MIXTURE, 0)
    draws = mask_draws(masker, batch, [0, 5])
    page = read_blocks(picture_masks(draws, ["epoch 0", "epoch 5"], MIXTURE))
    seen = [name for name in draws[0].streams if any(draw.streams[name].present for draw in draws)]

    assert page.texts.count("epoch 0") == page.texts.count("epoch 5") == 1 + len(seen)
    assert {said_component(MIXTURE.components[draw.component], *EVER) for draw in draws} <= set(page.texts)
    for draw in draws:
        assert f"{draw.input_tokens} of {draw.input_budget}" in page.texts
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    present = [each for draw in draws for each in draw.streams.values() if each.present]
    assert len(labels) == len(present) and page.texts.count("absent") == 2 * len(seen) - len(present)
    first = present[0]
    assert (
        f"{first.stream.name}, epoch 0: of {first.length} tokens {first.visible.sum()} visible, "
        f"{first.predicted.sum()} to predict"
    ) in labels


def test_streams_that_no_sample_has_take_no_room() -> None:
    """Of 21 modalities a sample has a few: the others are named in one line."""
    batch = make_batch(3, 2)
    gone = attrs.evolve(batch, columns={n: c for n, c in batch.columns.items() if n != "shape.tokens"})
    page = read_blocks(picture_masks(mask_draws(Masker(PLAN, MIXTURE, 0), gone, [0, 5]), ["a", "b"]))

    assert any(text.startswith("Not in this sample: ") and "shape.tokens" in text for text in page.texts)


def test_the_mixture_is_told_in_words() -> None:
    table = mixture_table(MIXTURE)
    last = [str(cell) for cell in table.rows[-1]]
    asks = last.pop(1)

    assert asks == said_component(MIXTURE.components[-1], *EVER)
    assert asks == "digit.tokens, shape.tokens, marks.tokens from caption.tokens"

    assert table.caption == "tokens per sample: 0 to 40 visible, 0 to 40 to predict"
    assert last[:3] == ["3", "50%", "caption.tokens (1000)"]
    assert last[3] == "digit.tokens, shape.tokens, marks.tokens (0.5)"
    assert last[4] == "random: caption.tokens"


def test_without_a_draw_there_is_nothing_to_show() -> None:
    draws = mask_draws(Masker(PLAN, MIXTURE, 0), make_batch(0, 0), [])
    page = read_blocks(picture_masks(draws, []))

    assert draws == []
    assert not [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_shares_of_components_add_up(weight: float) -> None:
    odd = Mixture((*MIXTURE.components, attrs.evolve(MIXTURE.components[0], weight=weight)), (1, 1), (1, 1))

    shares = [int(str(row[2]).rstrip("%")) for row in mixture_table(odd).rows]
    assert abs(sum(shares) - 100) <= 2
