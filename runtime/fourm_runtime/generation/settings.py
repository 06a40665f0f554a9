"""The settings of one target, checked and turned into numbers per step."""

from collections.abc import Sequence
from typing import Protocol, TypeGuard

from fourm_runtime.generation.combine import COMBINES, Combine
from fourm_runtime.generation.request import SCHEMES, Scheme, Target
from fourm_runtime.generation.sampling import Sampling
from fourm_runtime.generation.schedules import temperatures, token_counts
from fourm_schema.errors import RequestError, nearest
from fourm_schema.plan import Stream

DEFAULT_STEPS = 8


class Report(Protocol):
    """Takes note of one fault."""

    def __call__(self, where: str, what: str, got: str = "", mend: str = "") -> None: ...


class SettingsCheck:
    """Reads what a target says about its decoding; each wrong setting is reported and takes its default.

    Args:
        target: what the user wrote.
        stream: the token stream it means.
        report: takes note of faults.
    """

    def __init__(self, target: Target, stream: Stream, report: Report) -> None:
        self._target, self._stream, self._report = target, stream, report
        self._where = f"targets.{target.stream}"

    def read(self) -> tuple[Scheme, tuple[int, ...], tuple[Sampling, ...]]:
        """Scheme, tokens per step, and sampling per step (for a sequence: the most tokens, one sampling)."""
        how = Sampling(self._temperature(), self._top_k(), self._top_p())
        scheme = self._scheme()
        if scheme == "autoregressive":
            self._refuse_steps()
            return scheme, (self._stream.length,), (how,)
        counts = self._counts("cosine" if scheme == "maskgit" else "linear")
        try:
            heat = temperatures(self._target.temperature_schedule, how.temperature, counts)
        except RequestError as error:
            self._adopt(error)
            heat = (how.temperature,) * len(counts)
        return scheme, counts, tuple(Sampling(value, how.top_k, how.top_p) for value in heat)

    def _scheme(self) -> Scheme:
        grid = self._stream.layout == "grid"
        default: Scheme = "maskgit" if grid else "autoregressive"
        wanted = self._target.scheme
        if wanted is None:
            return default
        for scheme in SCHEMES:
            if scheme == wanted and (scheme == "autoregressive") != grid:
                return scheme
        if wanted in SCHEMES:
            fitting = "maskgit or roar" if grid else "autoregressive"
            self._report(
                self._where,
                f"{wanted} does not generate a {self._stream.layout}",
                mend=f"{self._stream.name} takes scheme {fitting}",
            )
        else:
            self._report(self._where, f"{wanted!r} is no scheme", mend=nearest(str(wanted), SCHEMES))
        return default

    def _counts(self, default_schedule: str) -> tuple[int, ...]:
        tokens = self._stream.length
        default = token_counts(default_schedule, min(DEFAULT_STEPS, tokens), tokens)
        steps = self._target.steps
        if steps is not None and not (_is_whole(steps) and 1 <= steps <= tokens):
            self._report(self._where, f"steps must be between 1 and its {tokens} tokens", got=repr(steps))
            return default
        wanted = self._target.token_schedule or default_schedule
        try:
            return token_counts(wanted, steps or min(DEFAULT_STEPS, tokens), tokens)
        except RequestError as error:
            self._adopt(error)
            return default

    def order(self) -> tuple[int, ...]:
        """The cells in the order that is wished for; none if there is no wish."""
        order = self._target.order
        if order is None or self._stream.layout != "grid":
            return ()
        cells = tuple(order) if isinstance(order, Sequence) else ()
        if all(map(_is_whole, cells)) and sorted(cells) == [*range(self._stream.length)]:
            return cells
        self._report(
            self._where,
            f"an order names each of its {self._stream.length} cells once, from 0",
            got=f"{len(cells)} entries" if cells else repr(order),
        )
        return ()

    def samples(self) -> tuple[int, Combine]:
        """How many samples are drawn, and what becomes of them."""
        stream, target = self._stream, self._target
        default: Combine = "vote" if stream.layout == "grid" else "join" if stream.kind == "set" else "best"
        how, count = default, target.samples
        if not (_is_whole(count) and count >= 1):
            self._report(self._where, "samples must be a whole number, 1 or more", got=repr(count))
            count = 1
        unfit = "join" if stream.layout == "grid" else "vote"
        fitting: dict[str, Combine] = {way: way for way in COMBINES if way != unfit}
        if target.combine in fitting:
            how = fitting[target.combine]
        elif target.combine in COMBINES:
            self._report(
                self._where,
                f"samples of a {stream.layout} cannot be combined by {target.combine}",
                mend=f"{stream.name} takes combine {' or '.join(fitting)}",
            )
        elif target.combine is not None:
            self._report(
                self._where,
                f"{target.combine!r} combines nothing",
                mend=nearest(str(target.combine), list(fitting)),
            )
        return count, how

    def _refuse_steps(self) -> None:
        target = self._target
        changed = [
            name
            for name, value, default in (
                ("steps", target.steps, None),
                ("token_schedule", target.token_schedule, None),
                ("temperature_schedule", target.temperature_schedule, "constant"),
                ("order", target.order, None),
            )
            if value != default
        ]
        if changed:
            self._report(
                self._where,
                f"autoregressive decoding has no {' and no '.join(changed)}",
                mend="leave it out: a sequence takes one step per token",
            )

    def _temperature(self) -> float:
        value = self._target.temperature
        if _is_number(value) and 0 <= value < float("inf"):
            return float(value)
        self._report(
            self._where, "temperature must be 0 or more", got=repr(value), mend="0 is the most likely token"
        )
        return 1.0

    def _top_k(self) -> int:
        value = self._target.top_k
        if _is_whole(value) and value >= 0:
            return value
        self._report(
            self._where, "top_k must be a whole number, 0 or more", got=repr(value), mend="0 sets no limit"
        )
        return 0

    def _top_p(self) -> float:
        value = self._target.top_p
        if _is_number(value) and 0 < value <= 1:
            return float(value)
        self._report(
            self._where, "top_p must be above 0 and at most 1", got=repr(value), mend="1 sets no limit"
        )
        return 1.0

    def _adopt(self, error: RequestError) -> None:
        for fault in error.faults:
            self._report(f"{self._where}.{fault.where}", fault.what, fault.got, fault.mend)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
