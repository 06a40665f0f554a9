"""Which row of which table belongs to what: append-only, so that a trained row never moves.

Row 0 of every table means *nothing*: it is zero, is never trained, and stands for the content of a
dense token (which is projected, not looked up), for the null token of a sample that shows nothing, and
for the tail that fills a packed batch. Everything else is `span.start + local id`.
"""

import attrs

from fourm_schema.errors import PlanError
from fourm_schema.plan import Plan, Stream


@attrs.frozen
class Span:
    """Rows `[start, start + size)` of a table."""

    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size


@attrs.frozen
class Allocation:
    """Rows of the tables, by name.

    Attributes:
        tokens: id space (stream name, or vocabulary whose rows are shared) -> rows of the vocabulary tables.
        fixed_positions: `scheme:shape` -> rows of the sin-cos table, e.g. `sincos-2d:14x14`.
        learned_positions: stream name -> rows of the learned position table.
        streams: stream name -> its row in the stream-embedding table.
    """

    tokens: dict[str, Span] = attrs.field(factory=dict)
    fixed_positions: dict[str, Span] = attrs.field(factory=dict)
    learned_positions: dict[str, Span] = attrs.field(factory=dict)
    streams: dict[str, int] = attrs.field(factory=dict)

    @property
    def token_rows(self) -> int:
        return 1 + sum(span.size for span in self.tokens.values())

    @property
    def fixed_position_rows(self) -> int:
        return 1 + sum(span.size for span in self.fixed_positions.values())

    @property
    def learned_position_rows(self) -> int:
        """Rows of the learned table; it has no row 0 of its own, since positions share one index."""
        return sum(span.size for span in self.learned_positions.values())

    @property
    def stream_rows(self) -> int:
        return 1 + len(self.streams)

    def token_offset(self, stream: Stream) -> int:
        """Row of the stream's local id 0."""
        return self.token_span(stream).start

    def token_span(self, stream: Stream) -> Span:
        """Rows of all the stream's ids."""
        assert stream.id_space is not None, "dense streams have no rows"
        return self.tokens[stream.id_space]

    def position_offset(self, stream: Stream) -> int:
        """Row of the stream's position 0 in [fixed rows, learned rows] laid end to end."""
        if stream.positions == "learned-1d":
            return self.fixed_position_rows + self.learned_positions[stream.name].start
        return self.fixed_positions[position_key(stream)].start


def position_key(stream: Stream) -> str:
    """Name of a fixed position table: streams of one shape share its rows."""
    shape = stream.grid if stream.positions == "sincos-2d" and stream.grid else (stream.position_count,)
    return f"{stream.positions}:{'x'.join(map(str, shape))}"


def allocate(plan: Plan, previous: Allocation | None = None) -> Allocation:
    """Give every stream of the plan its rows, after those that `previous` already gave.

    Streams that `previous` knows and the plan no longer has keep their rows: removing leaves a hole.

    Raises:
        PlanError: if an id space or position table that already has rows would need another size.
    """
    kept = previous or Allocation()
    tokens, fixed = dict(kept.tokens), dict(kept.fixed_positions)
    learned, streams = dict(kept.learned_positions), dict(kept.streams)
    for stream in plan.streams:
        streams.setdefault(stream.name, 1 + len(streams))
        if stream.id_space is not None:
            _append(tokens, stream.id_space, stream.vocab_size, first=1)
        if stream.positions == "learned-1d":
            _append(learned, stream.name, stream.position_count, first=0)
        else:
            _append(fixed, position_key(stream), stream.position_count, first=1)
    return Allocation(tokens, fixed, learned, streams)


def _append(spans: dict[str, Span], name: str, size: int, first: int) -> None:
    known = spans.get(name)
    if known is None:
        spans[name] = Span(max((span.stop for span in spans.values()), default=first), size)
    elif known.size != size:
        raise PlanError(
            name,
            f"already has {known.size} trained rows and cannot have {size}",
            mend="rows are append-only: declare the changed modality under a new name",
        )
