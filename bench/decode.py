"""What the key/value cache saves when a text is decoded token by token.

    python bench/decode.py [--tokens 256] [--repetitions 2] [--json]

One text of 256 tokens is generated from 256 encoder tokens (a 16 x 16 token grid), greedily, batch 1, one
thread, by a model of size tiny (width 384, 6 + 6 blocks) with random weights: once with the cache, once
running the decoder over the whole prefix in each step. Both must give the same tokens. The two alternate, so
that what else the machine does hits both; the ratio is the median of the pairs', in CPU seconds. Exit
status 1 if the tokens differ or, at 256 tokens, the cache is less than 4 times as fast.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from pairs import interleave

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in (".", "codecs", "runtime")]

from fourm_runtime.assemble import assemble  # noqa: E402 - path set above
from fourm_runtime.generation.causal import Method  # noqa: E402 - path set above
from fourm_runtime.generation.plan import compile_request  # noqa: E402 - path set above
from fourm_runtime.generation.request import Request, Target  # noqa: E402 - path set above
from fourm_runtime.generation.run import Job, run_jobs  # noqa: E402 - path set above
from fourm_runtime.generation.samples import Tokens  # noqa: E402 - path set above
from fourm_runtime.transformer import AnyToAnyTransformer  # noqa: E402 - path set above
from fourm_schema.architecture import architecture  # noqa: E402 - path set above
from fourm_schema.resolve import resolve  # noqa: E402 - path set above
from fourm_schema.schema import Schema  # noqa: E402 - path set above

PROMISED_RATIO = 4.0
PROMISED_AT = 256


def build(tokens: int) -> tuple[AnyToAnyTransformer, Job]:
    """Build the model, and the job of one text of at most `tokens` tokens."""
    schema = Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": 4096}},
            "modalities": {
                "map": {
                    "kind": "image",
                    "size": 16,
                    "patch": 1,
                    "cell": {"type": "continuous", "range": [0, 255], "levels": 256},
                },
                "caption": {"kind": "text", "vocabulary": "words", "max_tokens": tokens},
            },
        }
    )
    model = assemble(resolve(schema), architecture("tiny"))
    ids = np.random.default_rng(0).integers(0, 256, 256).astype(np.int32)
    plan = compile_request(model.plan, Request({"map": 1}, (Target("caption", temperature=0.0),)))
    return model, Job(plan, {"map.tokens": Tokens.whole(ids)})


def main() -> int:
    """Time both ways and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=PROMISED_AT, help="tokens of the text (default 256)")
    parser.add_argument("--repetitions", type=int, default=2, help="of each way (default 2)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, job = build(arguments.tokens)
    texts = set()
    small, short = build(4)
    run_jobs(small, [short])  # what is imported and set up at the first call is not what is measured

    def write(method: Method) -> None:
        texts.add(tuple(run_jobs(model, [job], method=method)[0]["caption.tokens"].ids.tolist()))

    times = interleave(
        {"recompute": lambda: write("recompute"), "cache": lambda: write("cache")},
        arguments.repetitions,
        warm=False,
    )
    generated = len(min(texts, key=len))
    kept = arguments.tokens < PROMISED_AT or (times.ratio >= PROMISED_RATIO and generated == arguments.tokens)
    record = {
        "tokens": generated,
        "same_tokens": len(texts) == 1,
        "cache_s": round(times.cpu("cache"), 3),
        "recompute_s": round(times.cpu("recompute"), 3),
        "ratio": round(times.ratio, 2),
        "ratio_range": [round(times.low, 2), round(times.high, 2)],
    }
    if arguments.json:
        print(json.dumps(record))
    else:
        same = "equal" if len(texts) == 1 else "DIFFER"
        print(f"recompute  {record['recompute_s']:8.3f} s for {generated} tokens")
        print(f"cache      {record['cache_s']:8.3f} s, tokens {same}")
        print(f"ratio      {times.ratio:8.2f}   (pairs {times.low:.2f} to {times.high:.2f})")
    return int(len(texts) != 1 or not kept)


if __name__ == "__main__":
    sys.exit(main())
