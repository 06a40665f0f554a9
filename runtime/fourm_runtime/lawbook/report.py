"""What became of the laws: a table of law by modality, what broke, and what was not tested."""

from collections.abc import Iterator, Sequence

import attrs
from rich.console import Console

from fourm_runtime.lawbook.book import CHAPTERS, CODEC, Case
from fourm_schema.lawbook.search import Outcome

BROKEN = "BROKEN"
NO_SUCH = "."
SKIPPED = "skipped"
WIDE = 150
"""Columns of a table that is printed to no terminal."""


def law_records(found: Sequence[Case], outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The outcomes as plain records."""
    return {
        "laws": [{**attrs.asdict(outcome), "kept": outcome.kept} for outcome in outcomes],
        "broken": sum(bool(outcome.fault) for outcome in outcomes),
        "not_tested": sum(bool(outcome.not_tested) for outcome in outcomes),
        "stands_in": {case.subject: case.stands_in for case in found if case.stands_in},
    }


def law_report(found: Sequence[Case], outcomes: Sequence[Outcome], width: int | None = None) -> str:
    """The outcomes for people.

    Args:
        found: the cases.
        outcomes: what became of each.
        width: columns of the page; None takes those of the terminal.
    """
    console = Console()
    columns = width or (console.width if console.is_terminal else WIDE)
    parts = [*_tables(outcomes, columns)]
    parts += [_broken(outcome) for outcome in outcomes if outcome.fault]
    stands_in = {case.subject: case.stands_in for case in found if case.stands_in}
    if stands_in:
        told = (f"  {subject}: {what}" for subject, what in stands_in.items())
        parts.append("\n".join(["tested with what stands in for training:", *told]))
    untested = [outcome for outcome in outcomes if outcome.not_tested]
    if untested:
        told = (f"  {outcome.subject}, {_of(outcome)}: {outcome.not_tested}" for outcome in untested)
        parts.append("\n".join(["not tested:", *told]))
    return "\n\n".join([*parts, _summary(outcomes)])


def _tables(outcomes: Sequence[Outcome], width: int) -> Iterator[str]:
    """As many modalities beside each other as the page is wide, chapter by chapter."""
    cells = {(outcome.law, outcome.subject): outcome for outcome in outcomes}
    subjects = list(dict.fromkeys(outcome.subject for outcome in outcomes))
    first = max((len(outcome.law) for outcome in outcomes), default=0) + 2
    while subjects:
        block, used = list[str](), first
        while subjects and (not block or used + _column(subjects[0]) <= width):
            used += _column(subjects[0])
            block.append(subjects.pop(0))
        yield _table(cells, block, first)


def _table(cells: dict[tuple[str, str], Outcome], block: Sequence[str], first: int) -> str:
    lines = [" " * first + "".join(subject.rjust(_column(subject)) for subject in block)]
    for title, laws in CHAPTERS.items():
        rows = [law.id for law in laws if any((law.id, subject) in cells for subject in block)]
        lines += ["", f"{title}:"] if rows else []
        for law in rows:
            told = (_cell(cells.get((law, subject))).rjust(_column(subject)) for subject in block)
            lines.append(law.ljust(first) + "".join(told))
    return "\n".join(lines)


def _column(subject: str) -> int:
    return max(len(subject), len(BROKEN), len(SKIPPED)) + 2


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return NO_SUCH
    if outcome.not_tested:
        return SKIPPED
    return BROKEN if outcome.fault else str(outcome.examples)


def _broken(outcome: Outcome) -> str:
    return f"{outcome.subject}: {outcome.law} is broken\n  {outcome.statement}\n  {outcome.fault}"


def _of(outcome: Outcome) -> str:
    return "its tokens" if outcome.law == CODEC else outcome.law


def _summary(outcomes: Sequence[Outcome]) -> str:
    tried = [outcome for outcome in outcomes if not outcome.not_tested]
    broken = [outcome for outcome in tried if outcome.fault]
    laws, subjects = {outcome.law for outcome in tried}, {outcome.subject for outcome in tried}
    examples = sum(outcome.examples for outcome in tried)
    kept = "all are kept" if not broken else f"{len(broken)} of {len(tried)} cases are broken"
    return f"{len(laws)} laws on {len(subjects)} subjects, {examples:,} examples: {kept}"
