"""A folder of files -> drafts: a schema that loads and resolves, a recipe to train it, a file of samples.

Where nothing is left for a person to do, three commands follow that work as they are printed.
"""

import itertools
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from fourm_runtime.data.layout import word_vocabulary
from fourm_runtime.scan.files import Group, Listing, list_files
from fourm_runtime.scan.names import Names, is_text, listed, plain_name, printable
from fourm_runtime.scan.proposal import Candidate, Findings, Found, Skipped
from fourm_runtime.scan.recipe_text import target_of, write_recipe
from fourm_runtime.scan.sample_arrays import look_at_arrays
from fourm_runtime.scan.sample_files import look_at_files
from fourm_runtime.scan.sample_tables import look_at_table
from fourm_runtime.scan.samples import SamplesFile, as_declared, samples_file
from fourm_runtime.scan.texts import VOCABULARY, vocabulary_size
from fourm_runtime.scan.yaml_text import write_draft
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from fourm_schema.modality import Modality
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.select import CODES_GRAMMAR, LEARNED_CODECS
from fourm_schema.yaml_writer import write_yaml

_RESERVED = ("id", "sample")
"""Columns that every dataset has."""

DATASET = "data.lance"
RUN = "runs/first"

MANY_SAMPLES = 100_000
FEW_IDS = 1024
"""Ids of a learned codec of images, where there are fewer samples than that."""

_LONGEST = 1000
_LONGEST_EXAMPLE = 200
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
        ready: what `fourm data import` reads with this schema as it is; empty if there is nothing.
        samples: how a file of samples is written that it reads; None if `ready` is all that it needs, or none
            can be written.
        schema: what the text says.
        rows: how many samples there seem to be.
        fits: whether pictures have to be brought to the size of their entries.
        example: a value to predict from, by modality; empty if there is none to show.
    """

    folder: Path
    yaml: str
    found: tuple[Found, ...]
    skipped: tuple[Skipped, ...]
    before_import: tuple[str, ...]
    ready: str
    samples: SamplesFile | None
    schema: Schema
    rows: int
    fits: bool
    example: Mapping[str, object]

    @property
    def by_hand(self) -> list[str]:
        """What a person has to do before the import, line by line."""
        needs = [f"{found.name}: {need}" for found in self.found for need in found.before_import]
        return [*needs, *self.before_import]

    @property
    def recipe(self) -> str:
        """The text of a `train.yaml` for a first run, with comments."""
        return write_recipe(resolve(self.schema), DATASET, next(iter(self.example), ""))

    def commands(self, schema: Path, recipe: Path, samples: Path) -> list[str]:
        """What to type once the drafts are written to these files.

        Args:
            schema, recipe, samples: where they were written; `samples` counts where `self.samples` is given.

        Returns:
            commands for a shell.
        """
        source = self.ready or str(samples)
        fit = " --fit center" if self.fits else ""
        data = (
            f"fourm data import {shlex.quote(source)} --schema {shlex.quote(str(schema))} --to {DATASET}{fit}"
        )
        train = f"fourm train {shlex.quote(str(recipe))} --prepare --codecs codecs --to {RUN}"
        given = "".join(
            f" --from {shlex.quote(f'{name}={value if isinstance(value, str) else json.dumps(value)}')}"
            for name, value in self.example.items()
        )
        wanted = target_of(resolve(self.schema), next(iter(self.example), ""))
        return [data, train, f"fourm generate {RUN}{given} --to {wanted} --out generated"]


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
    ready = _ready(pieces)
    entries = {name: _entry(name, candidate, bool(ready)) for name, candidate in named.items()}
    head = _head(entries, candidates)
    schema = parse_schema(write_yaml({**head, "modalities": entries}), "the draft")
    modalities = {name: (candidate, schema.modalities[name]) for name, candidate in named.items()}
    written = None if ready else samples_file(pieces, modalities)
    needs = _needs_of_codecs(schema)
    found = tuple(
        Found(
            name,
            str(candidate.proposal.entry["kind"]),
            printable(candidate.origin, _LONGEST),
            candidate.seen,
            _printable((*candidate.proposal.notes, *_fitted(candidate))),
            _printable((*candidate.proposal.by_hand, *(() if written else _asked(candidate)))),
            _printable(_asked(candidate)) if written else (),
            needs.get(name, ""),
        )
        for name, candidate in named.items()
    )
    by_hand = [need for piece in pieces for need in piece.by_hand]
    if not ready and written is None:
        by_hand += [need for piece in pieces for need in piece.needs]
        by_hand.append("write a .jsonl with an object {modality: value} per sample, and import that")
    before = _printable(by_hand)
    remarks = [listing.remark, _alignment(candidates), *(f"Before the import: {need}." for need in before)]
    text = write_draft(root, head, entries, found, skipped, [remark for remark in remarks if remark])
    fits = any(_is_resized(need) for candidate in candidates for need in candidate.proposal.before)
    rows = max(candidate.total for candidate in candidates)
    return Draft(
        root, text, found, skipped, before, ready, written, schema, rows, fits, _example(schema, modalities)
    )  # fmt: skip


def _printable(needs: Iterable[str]) -> tuple[str, ...]:
    return tuple(printable(need, _LONGEST) for need in needs)


def _is_resized(need: str) -> bool:
    """Whether a need is one that the import serves: pictures brought to one size."""
    return need.startswith("resize ")


def _fitted(candidate: Candidate) -> Iterator[str]:
    """What becomes of pictures of other sizes."""
    if any(map(_is_resized, candidate.proposal.before)):
        yield (
            "The import takes of each the largest window in its middle, at this size (--fit center); "
            "--fit stretch takes the whole."
        )


def _asked(candidate: Candidate) -> tuple[str, ...]:
    """How its values must be written; their size is for the import."""
    return tuple(need for need in candidate.proposal.before if not _is_resized(need))


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


def _entry(name: str, candidate: Candidate, is_ready: bool) -> Entry:
    """The entry, with the key that the files have for it, and as many ids as the samples can teach."""
    entry, key = dict(candidate.proposal.entry), candidate.key
    if is_ready and key and key != name and is_text(key):
        entry["source"] = {"field": key}
    if entry["kind"] == "image" and candidate.total < MANY_SAMPLES and _is_coded(entry):
        entry["vocab_size"] = FEW_IDS
    return entry


def _is_coded(entry: Entry) -> bool:
    """Whether the images of an entry get a learned codec."""
    text = write_yaml({"version": 1, "modalities": {"image": entry}})
    return any(stream.codec in LEARNED_CODECS for stream in resolve(parse_schema(text, "the draft")).streams)


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


def _ready(pieces: Sequence[Findings]) -> str:
    """What holds every modality and nothing else, with nothing to do first; empty if nothing does."""
    held = [piece for piece in pieces if piece.candidates]
    has_needs = any(
        piece.needs
        or piece.by_hand
        or candidate.proposal.by_hand
        or _asked(candidate)
        or candidate.key is None
        for piece in held
        for candidate in piece.candidates
    )
    sources = {piece.source for piece in held}
    return "" if has_needs or len(sources) > 1 else sources.pop()


def _example(schema: Schema, modalities: Mapping[str, tuple[Candidate, Modality]]) -> dict[str, object]:
    """A short value that was seen, to predict from: a text, else a record, else a vector."""
    known = {stream.modality for stream in resolve(schema).inputs}
    for kind in ("text", "set", "vector"):
        for name, (candidate, entry) in modalities.items():
            raw = candidate.proposal.example
            if entry.kind != kind or name not in known or raw is None or len(modalities) == 1:
                continue
            value = as_declared(entry, raw, candidate.proposal.keys)
            value = value[0] if kind == "text" and isinstance(value, list) else value
            if value is not None and len(json.dumps(value)) <= _LONGEST_EXAMPLE and _can_be_typed(value):
                return {name: value}
    return {}


def _can_be_typed(value: object) -> bool:
    """Whether a value can stand in a command line as it is."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return is_text(text) and text.isprintable()
