"""Whether every generated set is valid, whatever the model says, and what the grammar costs.

    python bench/set_generation.py [--sets 1000] [--seed 0] [--json]

Models with random weights, the worst there can be. First, sets of drawn schemas, ten of each: Hypothesis
draws declarations (every type of field, order and policy); requests differ in the items that are given, if
any, in room (often less than the stream has), temperature (0 to 1e6), top-k, top-p and guidance. Each set
must end within its room, parse, be a value of its schema in its order, and hold the items that were given.
Needs the extra `test`.

Then, for the cost, as many sets of five declarations: boxes with labels, poses, short notes, a record of
optional fields, and shapes whose masks and vectors are in learned codes, of random weights too. Half of them
are drawn at temperature 1, half at 50, where any id that the grammar admits is likely. One thread, batches of
250; the grammar's time is that of all masks and steps of the sequences drawn, walked again alone. Exit
status 1 if a set is not valid.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import attrs
import torch

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in (".", "codecs", "runtime")]

from fourm_codecs.base import TokenBatch  # noqa: E402 - path set above
from fourm_codecs.sets import SetCodec  # noqa: E402 - path set above
from fourm_codecs.untrained import untrained_codecs  # noqa: E402 - path set above
from fourm_codecs.vocabulary import WordVocabulary  # noqa: E402 - path set above
from fourm_runtime.assemble import assemble  # noqa: E402 - path set above
from fourm_runtime.batch import Int32  # noqa: E402 - path set above
from fourm_runtime.generation.plan import compile_request  # noqa: E402 - path set above
from fourm_runtime.generation.request import Request, Target  # noqa: E402 - path set above
from fourm_runtime.generation.run import Job, run_jobs  # noqa: E402 - path set above
from fourm_schema.architecture import Architecture  # noqa: E402 - path set above
from fourm_schema.errors import CodecError  # noqa: E402 - path set above
from fourm_schema.load import parse_schema  # noqa: E402 - path set above
from fourm_schema.modality import Set  # noqa: E402 - path set above
from fourm_schema.resolve import resolve  # noqa: E402 - path set above
from tests.runtime.drawn_generations import Tally as Drawn  # noqa: E402 - path set above
from tests.runtime.drawn_generations import generate  # noqa: E402 - path set above

YAML = """\
version: 1
vocabularies: {words: {kind: wordpiece, size: 128}}
modalities:
  boxes:
    {kind: set, max_items: 20, order: distance_to_origin,
     fields: {box: {type: box, bins: 1000}, label: {type: category, classes: coco80}}}
  poses:
    {kind: set, max_items: 6,
     fields: {joints: {type: vector, dim: 12, bins: 64}, turn: {type: angle, bins: 36}, root: {type: point}}}
  notes:
    {kind: set, max_items: 8, order: random,
     fields: {at: {type: point, bins: 50}, text: {type: text, vocabulary: words, max_tokens: 8}}}
  facts:
    {kind: set, max_items: 1,
     fields: {width: {type: number, range: [1, 10000], scale: log, optional: true},
              kind: {type: category, classes: [map, photo], optional: true},
              title: {type: text, vocabulary: words, max_tokens: 6, optional: true}}}
  shapes:
    {kind: set, max_items: 6, order: area,
     fields: {box: {type: box, bins: 1000}, outline: {type: mask, size: 16, tokens: 4, vocab_size: 240},
              turn: {type: vector, dim: 69, range: [-1, 1], tokens: 4, vocab_size: 256}}}
"""
BATCH = 250


@attrs.define
class Tally:
    """What was found of one declaration."""

    sets: int = 0
    invalid: int = 0
    items: int = 0
    tokens: int = 0
    seconds: float = 0.0
    grammar_seconds: float = 0.0


def is_valid(codec: SetCodec, ids: Int32, length: int) -> bool:
    """Whether the ids are one whole set within its length, whose records the codec takes back."""
    chunks = codec.automaton.chunk_lengths(ids.tolist())
    if chunks is None or len(ids) > length or len(chunks) - 1 > codec.entry.max_items:
        return False
    records = codec.decode(TokenBatch.of([ids], codec.vocab_size))
    try:
        codec.encode(records)
    except CodecError:
        return False
    return len(records[0]) == len(chunks) - 1


def walk(codec: SetCodec, ids: Int32, length: int) -> None:
    """What decoding asks of the grammar for one sequence."""
    state = codec.automaton.start
    for place, identity in enumerate(ids.tolist()):
        codec.automaton.allowed(state, length - place)
        following = codec.automaton.step(state, identity)
        assert following is not None, "the sequence was drawn under the grammar"
        state = following


def measure(sets: int) -> dict[str, Tally]:
    """Generate so many sets, evenly over the declarations."""
    schema = parse_schema(YAML)
    plan = resolve(schema)
    declared = plan.vocabularies[0]
    words = WordVocabulary.train(
        ["a red cat and two dogs", "the third sign says stop"], "words", declared.size, declared.special
    )
    model = assemble(plan, Architecture(dim=32, heads=4, encoder_depth=1, decoder_depth=2), seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("tables."):
                parameter.mul_(20)  # as drawn, an untrained model hardly tells its inputs apart
    found: dict[str, Tally] = {}
    for name, entry in schema.modalities.items():
        assert isinstance(entry, Set), "every modality of this schema is a set"
        has_text = any(field.type == "text" for field in entry.fields.values())
        codec = SetCodec(name, entry, words if has_text else None, codecs=untrained_codecs(name, entry))
        stream, tally = plan.stream(name), found.setdefault(name, Tally())
        for first in range(0, sets // len(schema.modalities), BATCH):
            temperature = 1.0 if first // BATCH % 2 else 50.0
            request = compile_request(plan, Request({}, (Target(name, temperature=temperature),)))
            count = min(BATCH, sets // len(schema.modalities) - first)
            jobs = [Job(request, {}, index=first + number) for number in range(count)]
            start = time.perf_counter()
            made = [one[stream.name].ids for one in run_jobs(model, jobs, sets={stream.name: codec})]
            tally.seconds += time.perf_counter() - start
            start = time.perf_counter()
            for ids in made:
                walk(codec, ids, stream.length)
            tally.grammar_seconds += time.perf_counter() - start
            tally.sets += count
            tally.invalid += sum(not is_valid(codec, ids, stream.length) for ids in made)
            tally.tokens += sum(map(len, made))
            tally.items += sum(len(codec.automaton.chunk_lengths(ids.tolist()) or [0]) - 1 for ids in made)
    return found


def show(drawn: Drawn) -> None:
    """Print what was drawn, and the first sets that are not valid."""
    print(f"drawn  {drawn.sets:5} sets of {drawn.schemas} schemas, {len(drawn.invalid)} invalid")
    print(
        f"       {drawn.with_items_given} with items given ({drawn.items_given} items),"
        f" {drawn.short_of_room} short of room, {drawn.guided} guided; {drawn.full} full, {drawn.empty} empty"
    )
    print(f"       {drawn.items} items, {drawn.tokens} tokens, the longest set has {drawn.longest}")
    for what, counts in (("fields", drawn.types), ("orders", drawn.orders), ("policies", drawn.policies)):
        print(f"       {what}: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    for fault in drawn.invalid[:5]:
        print(f"       {fault}")


def main() -> int:
    """Generate, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000, help="how many in all (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="what the drawn ones are drawn from (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    drawn = generate(arguments.sets, arguments.seed)
    found = measure(arguments.sets)
    if arguments.json:
        tallies = {name: attrs.asdict(tally) for name, tally in found.items()}
        print(json.dumps({"drawn": attrs.asdict(drawn), **tallies}))
    else:
        show(drawn)
        for name, tally in found.items():
            share = tally.grammar_seconds / max(tally.seconds, 1e-9)
            print(
                f"{name:6} {tally.sets:5} sets, {tally.invalid} invalid, {tally.items:6} items,"
                f" {tally.tokens:7} tokens in {tally.seconds:6.2f} s, grammar {share:.0%}"
            )
    return int(bool(drawn.invalid) or any(tally.invalid for tally in found.values()))


if __name__ == "__main__":
    sys.exit(main())
