"""The page of a profile: what a person should act on first, then every modality in numbers and pictures."""

from fourm_runtime.pictures.page import Block, Cell, Page, Section, Svg, Table, Text
from fourm_runtime.pictures.small_bars import class_bars, histogram
from fourm_runtime.profiling.record import Classes, Finding, Lengths, ModalityProfile, Numbers, Part, Profile
from fourm_runtime.profiling.shares import percent

_MOST_BARS = 40
_LEVELS = {"fault": "fault", "warning": "warning", "note": "to know"}


def profile_page(found: Profile) -> Page:
    """Draw a profile: `fourm data profile --html` writes this page."""
    seen = f"{found.profiled:,} of {found.rows:,} samples" if found.profiled < found.rows else ""
    sections = [
        Section("What to act on", [_findings(found.findings)]),
        Section(
            "Samples", [_presence(found), Text("Tokens per sample, shown or predicted:"), *_tokens(found)]
        ),
        *(Section(name, _modality(one)) for name, one in found.modalities.items() if one.parts or one.odd),
    ]
    if found.streams:
        sections.append(Section("Token columns", [_streams(found)]))
    summary = f"{seen or f'{found.rows:,} samples'}, version {found.version}."
    return Page(f"Profile of {found.path.rpartition('/')[2]}", sections, summary)


def part_row(name: str, part: Part) -> list[Cell]:
    """A part as a row: its name, what it is, its spread, its range or limit."""
    match part:
        case Numbers():
            middle = (
                f"{part.quantiles['0.01']:.4g} .. {part.quantiles['0.5']:.4g} .. {part.quantiles['0.99']:.4g}"
            )
            declared = "" if part.low is None or part.high is None else f"{part.low:g} to {part.high:g}"
            return [
                name, part.count, f"{part.mean:.4g} ± {part.std:.4g}", f"{part.least:.5g} to {part.most:.5g}",
                middle, declared,
            ]  # fmt: skip
        case Classes():
            first = next(iter(part.counts), "")
            share = f"{first} {percent(part.counts[first], part.total)}" if first else ""
            known = len(part.counts) + len(part.unseen)
            return [name, part.total, share, "", "", f"{len(part.counts):,} of {known:,} classes"]
        case Lengths():
            middle = " .. ".join(f"{part.quantile(share):,}" for share in (0.01, 0.5, 0.99))
            least = min(part.counts, default=0)
            limit = "" if part.limit is None else f"at most {part.limit:,}"
            return [name, part.values, f"{part.mean:.4g}", f"{least:,} to {part.most:,}", middle, limit]


HEADERS = ("", "values", "mean ± deviation", "from to", "1 %, half, 99 %", "declared")


def _findings(findings: tuple[Finding, ...]) -> Block:
    if not findings:
        return Text("Nothing was found that would have to be mended.")
    rows: list[list[Cell]] = [[_LEVELS[one.level], one.where, one.what, one.mend] for one in findings]
    return Table(("", "where", "what was found", "what to do"), rows, row_headings=True)


def _presence(found: Profile) -> Block:
    rows: list[list[Cell]] = [
        [
            name,
            one.kind,
            one.present,
            percent(one.present, found.profiled),
            f"{one.copies.copies:,}" + (f" of one in {one.copies.one_in}" if one.copies.one_in > 1 else ""),
        ]
        for name, one in found.modalities.items()
    ]
    rows.append(["whole samples", "", found.profiled, "100 %", f"{found.copies.copies:,}"])
    return Table(("modality", "kind", "present", "share", "equal another"), rows, row_headings=True)


def _tokens(found: Profile) -> list[Block]:
    lengths = found.tokens_per_sample
    row = part_row("all streams", lengths)
    return [Table(HEADERS, [row], row_headings=True), _tile(picture_of_part("tokens per sample", lengths))]


def _modality(one: ModalityProfile) -> list[Block]:
    rows = [[*part_row(name, part), picture_of_part(name, part)] for name, part in one.parts.items()]
    blocks: list[Block] = [Table((*HEADERS, ""), rows, row_headings=True)] if rows else []
    if one.odd:
        odd: list[list[Cell]] = [[what, count] for what, count in one.odd.items()]
        blocks.append(Table(("odd values", ""), odd, row_headings=True))
    return blocks


def _tile(picture: Svg) -> Block:
    return Table((), [[picture]])


def picture_of_part(name: str, part: Part) -> Svg:
    """How the numbers lie, how often the classes occur, how long the values are."""
    match part:
        case Numbers():
            return histogram(part.histogram, part.least, part.most, f"{name}: how often each number occurs")
        case Classes():
            return class_bars(part.counts, f"{name}: how often each class occurs")
        case Lengths():
            low, high = min(part.counts, default=0), max(part.most, part.limit or 0)
            bars = min(_MOST_BARS, high - low + 1)
            heights = [0.0] * bars
            for length, count in part.counts.items():
                heights[(length - low) * bars // (high - low + 1)] += count
            mark = None if part.limit is None else float(part.limit)
            return histogram(heights, low, high, f"{name}: how long values are", mark)


def _streams(found: Profile) -> Table:
    rows: list[list[Cell]] = [
        [
            name,
            one.state,
            one.tokens,
            f"{one.used:,} of {one.vocabulary:,}",
            f"{one.perplexity:,.0f}",
            f"{one.commonest:.1%}",
            "" if one.unknown is None else f"{one.unknown:,}",
            f"{one.lengths.mean:.1f}, at most {one.lengths.most:,}",
            picture_of_part(f"{name}, tokens", one.lengths),
        ]
        for name, one in found.streams.items()
    ]
    headers = (
        "stream", "state", "tokens", "ids used", "perplexity", "commonest id", "unknown", "a value has", "",
    )  # fmt: skip
    return Table(headers, rows, row_headings=True)
