"""Plans, architectures and masked samples that Hypothesis draws, for the laws that hold for all of them.

Sizes are as small as the law allows; every kind of stream, role and switch can come up.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from hypothesis import strategies as st

from fourm_runtime.batch import HIDDEN_RUN, DenseSequences, Float32, Masked, Selection
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan, Role, Shown, Special, Stream, Vocabulary

WORDS = Vocabulary("words", "wordpiece", 23, Special(0, 1, 2, 3, first_sentinel=4, sentinel_count=5))
ROLES: tuple[Role, ...] = ("input", "target", "both")
Shape = Literal["pixels", "values", "vectors", "image", "bins", "text"]
SHAPES: tuple[Shape, ...] = get_args(Shape)


def stream(
    shape: Shape, number: int, rows: int = 2, columns: int = 3, role: Role = "both", **fields: Any
) -> Stream:
    """One stream; its number makes its name its own.

    Args:
        shape: what it is.
        number: its place in the plan.
        rows, columns: cells of an image; the product is the length of what is no image.
        role: ignored by dense streams, which are inputs.
        fields: `loss_weight`, and `dense_dim` or `vocab_size`.
    """
    modality = f"{shape}{number}"
    dense, image = shape in ("pixels", "values", "vectors"), shape in ("pixels", "image")
    shown: Shown = "pixels" if shape == "pixels" else "values" if dense else "tokens"
    name = f"{modality}.{shown}"
    text = {"layout": "sequence", "grid": None, "vocabulary": WORDS.name, "vocab_size": WORDS.size}
    vectors = {"layout": "sequence", "grid": None, "vocabulary": None, "vocab_size": 0}
    grid = {
        "layout": "grid",
        "grid": (rows, columns) if image else (rows * columns,),
        "vocabulary": None if dense else name,
        "vocab_size": 0 if dense else 7,
    }
    positions = {"image": "sincos-2d", "pixels": "sincos-2d", "bins": "learned-1d"}.get(shape, "sincos-1d")
    return Stream(
        **{
            "name": name,
            "modality": modality,
            "kind": "text" if shape == "text" else "image" if image else "vector",
            "shown": shown,
            "role": "input" if dense else role,
            "length": rows * columns,
            "dense_dim": 3 if dense else None,
            "codec": {"image": "levels", "bins": "bins", "text": "wordpiece"}.get(shape, "none"),
            "embedding": "linear" if dense else "table",
            "positions": positions,
            "because": ("drawn", "drawn", "drawn"),
            "loss_weight": 1.0,
            "column": modality if dense else f"{modality}__tokens",
            **(text if shape == "text" else vectors if shape == "vectors" else grid),
            **fields,
        }
    )


def plan_of(*drawn: Stream) -> Plan:
    words = (WORDS,) if any(each.layout == "sequence" for each in drawn) else ()
    return Plan("drawn", drawn, words)


@st.composite
def streams(draw: st.DrawFn, number: int) -> Stream:
    """A stream of any kind."""
    shape = draw(st.sampled_from(SHAPES))
    fields: dict[str, object] = {"loss_weight": draw(st.sampled_from([0.5, 1.0]))}
    if shape in ("pixels", "values", "vectors"):
        fields["dense_dim"] = draw(st.integers(1, 4))
    elif shape != "text":
        fields["vocab_size"] = draw(st.integers(2, 9))
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return stream(shape, number, rows, columns, draw(st.sampled_from(ROLES)), **fields)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """One to five streams."""
    count = draw(st.integers(1, 5))
    return plan_of(*(draw(streams(number)) for number in range(count)))


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """A tiny network with any switches."""
    switch = st.booleans()
    return Architecture(
        dim=16,
        heads=draw(st.sampled_from([1, 2])),
        encoder_depth=draw(st.integers(1, 2)),
        decoder_depth=draw(st.integers(1, 2)),
        mlp_ratio=draw(st.sampled_from([2.0, 4.0])),
        activation=draw(st.sampled_from(["silu", "gelu"])),
        gated_mlp=draw(switch),
        qkv_bias=draw(switch),
        proj_bias=draw(switch),
        mlp_bias=draw(switch),
        norm_bias=draw(switch),
        qk_norm=draw(switch),
        registers=draw(st.integers(0, 2)),
        tie_head=draw(switch),
        share_stream_embedding=draw(switch),
    )


def masked_samples(plan: Plan, size: int, seed: int, absent: float = 0.3) -> Masked:
    """Samples whose modalities are absent, shown in part, asked for in part, or neither.

    Args:
        plan: its streams.
        size: samples.
        seed: same seed, same samples.
        absent: chance that a sample lacks a modality, or shows (or is asked for) nothing of it.
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, Selection] = {}
    targets: dict[str, Selection] = {}
    dense: dict[str, Float32 | DenseSequences] = {}
    for each in plan.streams:
        shown, wanted = [], []
        for _ in range(size):
            order = rng.permutation(each.length)
            cut = int(rng.integers(0, each.length + 1))
            has, shows, asks = rng.random(3) > absent
            shown.append(np.sort(order[:cut]) if has and shows and each.can_be_input else order[:0])
            wanted.append(np.sort(order[cut:]) if has and asks and each.can_be_target else order[:0])
        if each.dense_dim is not None and each.layout == "sequence":
            dense[each.name] = _vectors(each.length, each.dense_dim, size, rng)
        elif each.dense_dim is not None:
            dense[each.name] = rng.standard_normal((size, each.length, each.dense_dim)).astype(np.float32)
        if each.can_be_input:
            inputs[each.name] = _selection(each, shown, rng, target=False)
        if each.can_be_target:
            targets[each.name] = _selection(each, wanted, rng, target=True)
    return Masked(size, inputs, targets, dense)


def _vectors(longest: int, dim: int, size: int, rng: np.random.Generator) -> DenseSequences:
    values = rng.standard_normal((size * longest, dim)).astype(np.float32)
    return DenseSequences(values, np.arange(size + 1) * longest, np.ones(size, np.bool_))


def _selection(stream: Stream, chosen: list[np.ndarray], rng: np.random.Generator, target: bool) -> Selection:
    counts = [len(cells) for cells in chosen]
    samples = np.repeat(np.arange(len(chosen)), counts).astype(np.int32)
    if stream.layout == "grid":
        positions = np.concatenate([np.zeros(0, np.int64), *chosen]).astype(np.int32)
    else:
        positions = np.concatenate([np.zeros(0, np.int64), *map(np.arange, counts)]).astype(np.int32)
    ids = rng.integers(0, max(stream.vocab_size, 1), len(samples)).astype(np.int32)
    if stream.is_dense and stream.layout == "sequence":
        # Which vectors are shown, in order, and hidden runs among them; positions are ranks.
        cells = np.concatenate([np.zeros(0, np.int64), *chosen])
        ids = np.where(rng.random(len(cells)) < 0.3, HIDDEN_RUN, cells).astype(np.int32)
    previous = rng.integers(0, max(stream.vocab_size, 1), len(samples)).astype(np.int32)
    return Selection(
        samples,
        positions,
        positions if stream.is_dense and stream.layout == "grid" else ids,
        previous if target and stream.layout == "sequence" else None,
    )


def without_empty(selections: Mapping[str, Selection]) -> dict[str, Selection]:
    """Streams without a token left out, as a mask may do."""
    return {name: selection for name, selection in selections.items() if selection.size}


def of_samples(selection: Selection, kept: list[int]) -> Selection:
    """The tokens of some samples; the others keep their numbers and lose their tokens."""
    mask = np.isin(selection.samples, kept)
    return Selection(
        samples=selection.samples[mask],
        positions=selection.positions[mask],
        ids=selection.ids[mask],
        previous=None if selection.previous is None else selection.previous[mask],
    )
