"""Whatever ids a model writes for a set, they are read as a set: 10,000 rows of each declared set.

    python bench/set_reading.py [--rows 10000] [--seed 0] FILE.yaml ...

A fifth of the rows is noise, a fifth noise among items, a fifth whole sets, two fifths whole sets with slips.
Reading must not fail, what is read must be a value of the schema (its order too), and each id must be in a
record, be the end, or be reported as damage. Without files, the shipped ones, and the sets of 4M-21 in 4M's
words: whatever is read of these can be written, and then is read without damage as the same ids. Learned
fields have random weights, and words come from a few sample texts. Needs the extra `test`. Exit status 1 if a
row is misread.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "codecs", "runtime")]

from fourm_codecs.base import TokenBatch  # noqa: E402 - path set above
from fourm_codecs.lawbook.set_validity import record_faults  # noqa: E402 - path set above
from fourm_codecs.lawbook.subject import DrawnSet, Subject, is_set  # noqa: E402 - path set above
from fourm_codecs.lawbook.subjects import prepare  # noqa: E402 - path set above
from fourm_codecs.sets import SetCodec  # noqa: E402 - path set above
from fourm_runtime.released.schema import released_schema  # noqa: E402 - path set above
from fourm_schema.load import load_schema  # noqa: E402 - path set above
from fourm_schema.modality import Set  # noqa: E402 - path set above
from fourm_schema.schema import Schema  # noqa: E402 - path set above
from tests.codecs.test_set_damage import KINDS  # noqa: E402 - path set above

BATCH = 500
IN_WORDS = ("det", "metadata", "color_palette", "human_poses", "sam_instance")
"""Sets of 4M-21, as `fourm import 4m` declares them."""


def misread(tested: Subject, rows: list[list[int]]) -> list[str]:
    """What is wrong with how rows are read."""
    entry, codec = tested.sets
    readings = codec.decode_with_report(TokenBatch.of(rows, codec.vocab_size))
    again = codec.encode([reading.records for reading in readings])
    end, found = codec.automaton.special.end, list[str]()
    # The word that 4M writes for an empty set of poses is in no record.
    nothing = codec.encode([[]]).ids.tolist()[:-1]
    for row, reading in zip(rows, readings, strict=True):
        if isinstance(codec, SetCodec):
            found += record_faults(entry, reading.records, codec.vocabulary)
        told = [*reading.spans, *((each.start, each.stop) for each in reading.damage)]
        places = {place for start, stop in told for place in range(start, stop)}
        places |= {row.index(end)} if end in row else set()
        if not reading.records and nothing:
            places |= {row.index(identity) for identity in nothing if identity in row}
        lost = sorted(set(range(len(row))) - places)
        found += [f"ids at {lost[:5]} of {row} are neither read nor reported"] if lost else []
    if not isinstance(codec, SetCodec):
        readings = codec.decode_with_report(again)
        found += [f"what was read is damaged: {each.damage[0].what}" for each in readings if each.damage]
        if not codec.encode([reading.records for reading in readings]).same(again):
            found.append("what was read has other ids when it is read again")
    return found


def sets_of(schema: Schema) -> list[tuple[Subject, DrawnSet]]:
    """The sets of a schema, and their codecs."""
    names = [name for name, entry in schema.modalities.items() if isinstance(entry, Set)]
    tested = [each.tested for each in prepare(schema, modalities=names)] if names else []
    return [(each, each.sets[1]) for each in tested if is_set(each)]


def main() -> int:
    """Read, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="YAML files (default: the shipped ones)")
    parser.add_argument("--rows", type=int, default=10_000, help="of each set (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn from (default 0)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shipped = [ROOT / "modalities.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]
    files = arguments.files or [*shipped, *sorted((ROOT / "examples").glob("*/modalities.yaml"))]
    schemas = {
        str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file): load_schema(file)
        for file in files
    }
    if not arguments.files:
        schemas["4M's words"] = released_schema(IN_WORDS, IN_WORDS, text_codec="tokenizer")
    broken = 0
    for where, schema in schemas.items():
        for tested, codec in sets_of(schema):
            rng, faults, seconds = np.random.default_rng(arguments.seed), list[str](), 0.0
            kinds: tuple[Callable[[DrawnSet, np.random.Generator], list[int]], ...] = KINDS
            for first in range(0, arguments.rows, BATCH):
                count = min(BATCH, arguments.rows - first)
                rows = [kinds[number % len(kinds)](codec, rng) for number in range(count)]
                start = time.process_time()
                faults += misread(tested, rows)
                seconds += time.process_time() - start
            broken += len(faults)
            print(f"{where} {tested.name}: {arguments.rows:,} rows, {len(faults)} misread, {seconds:.1f} s")
            for fault in faults[:3]:
                print(f"  {fault}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
