"""A folder of files -> a draft of `modalities.yaml` that loads and resolves, and what is left to do."""

import itertools
import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from fourm_runtime.data.layout import word_vocabulary
from fourm_runtime.scan.files import Group, Listing, list_files
from fourm_runtime.scan.names import Names, is_text, listed, plain_name, printable
from fourm_runtime.scan.proposal import Candidate, Findings, Found, Skipped
from fourm_runtime.scan.sample_arrays import look_at_arrays
from fourm_runtime.scan.sample_files import look_at_files
from fourm_runtime.scan.sample_tables import look_at_table
from fourm_runtime.scan.texts import VOCABULARY, vocabulary_size
from fourm_runtime.scan.yaml_text import write_draft
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.select import CODES_GRAMMAR, LEARNED_CODECS
from fourm_schema.yaml_writer import write_yaml

_RESERVED = ("id", "sample")
"""Columns that every dataset has."""

_LONGEST = 1000
_ORDER = ("image", "vector", "set", "text")

Entry = dict[str, object]


@attrs.frozen
class Draft:
    """What `init` makes of a folder.

    Attributes:
        folder: that was looked at.
        yaml: the text of a `modalities.yaml`, with comments.
        found: its modalities, in its order.
        skipped: what is no part of it, and why.
        before_import: what must be done to files as a whole; what concerns one modality stands in `found`.
        ready: the file that `fourm data import` reads with this schema as it is; None if there is none.
        line: how a line of a `.jsonl` beside the files looks, where they are one per sample; else empty.
    """

    folder: Path
    yaml: str
    found: tuple[Found, ...]
    skipped: tuple[Skipped, ...]
    before_import: tuple[str, ...]
    ready: Path | None
    line: str

    def next_steps(self, file: Path) -> list[str]:
        """What to do once the draft is written to a file, line by line."""
        schema = shlex.quote(str(file))
        steps = [f"read the comments in {file} and change what is wrong"]
        steps += [f"fourm validate {schema}", f"fourm explain {schema}"]
        steps += [f"{found.name}: {need}" for found in self.found for need in found.before_import]
        steps += self.before_import
        samples = self.ready or self.folder / "samples.jsonl"
        if self.ready is None:
            example = f", e.g. {self.line}" if self.line else ""
            steps.append(f"write {samples} with an object per sample{example}")
        steps.append(f"fourm data import {shlex.quote(str(samples))} --schema {schema} --to data.lance")
        return steps


def init(folder: Path | str) -> Draft:
    """Look at a folder of samples and propose what each modality is.

    Files and rows are sampled, so that a large folder takes seconds. Nothing is written.

    Args:
        folder: images, arrays, texts and tables; `fourm_runtime.scan.files` says how they may lie.

    Raises:
        DataError: if there is no such folder, or nothing in it could be a modality.
    """
    root = Path(folder)
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise DataError(str(root), what, mend="give the folder that holds the samples")
    listing = list_files(root)
    pieces = _look(listing, root)
    skipped = tuple(
        Skipped(printable(item.what, _LONGEST), printable(item.why, _LONGEST))
        for item in (*listing.skipped, *(item for piece in pieces for item in piece.skipped))
    )
    candidates = sorted(
        (candidate for piece in pieces for candidate in piece.candidates),
        key=lambda candidate: _ORDER.index(str(candidate.proposal.entry["kind"])),
    )
    if not candidates:
        got = "; ".join(f"{item.what}: {item.why}" for item in skipped[:5]) or "no files"
        more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        mend = "put pictures, arrays, tables or texts there; docs/init.md says how they may lie"
        raise DataError(str(root), "holds nothing that could be a modality", got=got + more, mend=mend)
    names = Names(_RESERVED)
    named = {names.take(candidate.name): candidate for candidate in candidates}
    entries = {name: _entry(name, candidate) for name, candidate in named.items()}
    head = _head(entries, candidates)
    needs = _needs_of_codecs(parse_schema(write_yaml({**head, "modalities": entries}), "the draft"))
    found = tuple(
        Found(
            name,
            str(candidate.proposal.entry["kind"]),
            printable(candidate.origin, _LONGEST),
            candidate.seen,
            tuple(printable(note, _LONGEST) for note in candidate.proposal.notes),
            tuple(printable(need, _LONGEST) for need in candidate.proposal.before),
            needs.get(name, ""),
        )
        for name, candidate in named.items()
    )
    before = tuple(printable(need, _LONGEST) for piece in pieces for need in piece.needs)
    remarks = [listing.remark, _alignment(candidates), *(f"Before the import: {need}." for need in before)]
    text = write_draft(root, head, entries, found, skipped, [remark for remark in remarks if remark])
    return Draft(root, text, found, skipped, before, _ready(pieces), _line(root, named))


def _look(listing: Listing, root: Path) -> list[Findings]:
    """Look at every group; tables first, since they may name the files of others."""
    owners = {os.path.normpath(file): group for group in listing.groups for file in group.files}
    covered: list[Group] = []
    columns: set[str] = set()
    pieces = []
    for group in sorted(listing.groups, key=lambda group: group.kind != "table"):
        if group in covered:
            continue
        if group.kind in ("text", "json") and plain_name(group.name) in columns:
            why = "a table has a column of this name, which is taken in its place"
            pieces.append(Findings(skipped=(Skipped(f"{group.place or group.name}/", why),)))
            continue
        try:
            if group.kind == "table":
                piece, named = look_at_table(group, root, owners)
                covered += named
                columns |= {plain_name(candidate.key) for candidate in piece.candidates if candidate.key}
            else:
                piece = (look_at_arrays if group.kind in ("archive", "stack") else look_at_files)(group, root)
        except DataError as error:
            what = listed((str(file.relative_to(root)) for file in group.files), most=2)
            piece = Findings(skipped=(Skipped(what, error.faults[0].what),))
        pieces.append(piece)
    return pieces


def _entry(name: str, candidate: Candidate) -> Entry:
    """The entry, with the key under which a file of samples has it if that is another."""
    entry, key = dict(candidate.proposal.entry), candidate.key
    if key and key != name and is_text(key):
        entry["source"] = {"field": key}
    return entry


def _head(entries: Mapping[str, Entry], candidates: Sequence[Candidate]) -> Entry:
    """What stands before the modalities: the version, and a vocabulary if there is any text."""
    texts = [text for candidate in candidates for text in candidate.proposal.texts]
    if not texts:
        return {"version": 1}
    longest = max((n for e in entries.values() if isinstance(n := e.get("max_tokens"), int)), default=0)
    size = vocabulary_size(texts, longest)
    return {"version": 1, "vocabularies": {VOCABULARY: {"kind": "wordpiece", "size": size}}}


def _needs_of_codecs(schema: Schema) -> dict[str, str]:
    """What training needs first: something to be learned."""
    plan, needs = resolve(schema), dict[str, str]()
    for name, modality in schema.modalities.items():
        if words := word_vocabulary(name, modality):
            needs[name] = f"vocabulary {words!r} is learned, by: fourm codec train {words}"
    for stream in plan.streams:
        if stream.codec in (*LEARNED_CODECS, CODES_GRAMMAR):
            codec = f"codec {stream.codec!r}"
            needs[stream.modality] = f"{codec} is learned, by: fourm codec train {stream.modality}"
    return needs


def _alignment(candidates: Sequence[Candidate]) -> str:
    """How many names of samples the modalities of one file per sample share."""
    stems = [{file.stem for file in candidate.files} for candidate in candidates if candidate.files]
    if len(stems) < 2:
        return ""
    shared, every = set.intersection(*stems), set.union(*stems)
    said = f"{len(every):,} names of files without their endings, {len(shared):,} of them in every group."
    if not any(mine & others for mine, others in itertools.combinations(stems, 2)):
        said += (
            " If sub-folders are classes, not modalities: put their files into one, the class into a table."
        )
    return said


def _ready(pieces: Sequence[Findings]) -> Path | None:
    """The one file that holds every modality and nothing else, with nothing to do first."""
    (first, *others) = [piece for piece in pieces if piece.candidates]
    has_needs = bool(first.needs) or any(
        candidate.proposal.before or candidate.key is None for candidate in first.candidates
    )
    return None if has_needs or others else first.source


def _line(root: Path, named: Mapping[str, Candidate]) -> str:
    """A line for the sample that has a file in the most modalities; what is no file's name is left open."""
    files = {name: candidate.files for name, candidate in named.items() if candidate.files}
    stems = Counter(file.stem for held in files.values() for file in held)
    if not stems:
        return ""
    sample, _ = stems.most_common(1)[0]
    record = {"id": sample}
    for name, held in files.items():
        file = next((file for file in held if file.stem == sample), None)
        if file is not None and named[name].proposal.entry["kind"] in ("image", "vector"):
            record[name] = file.relative_to(root).as_posix()
    rest = "".join(f', "{name}": ...' for name in named if name not in record)
    return json.dumps(record)[:-1] + rest + "}"
