"""A schema -> a first recipe: a small model and few steps, which a CPU can do in minutes."""

from fourm_schema.plan import Plan, Stream

_MOST_TOKENS = 128
"""Tokens on either side; 4M has 256."""

_SAMPLES = 32
_TOKENS = 2_400_000
"""Tokens of the whole run, about: some minutes of one CPU core."""

_STEPS = (200, 1500)


def write_recipe(plan: Plan, dataset: str, given: str = "") -> str:
    """Write the text of a `train.yaml`.

    Args:
        plan: what is trained.
        dataset: the samples.
        given: a modality that others shall be predicted from more often; empty for none.
    """
    shown, asked = (
        min(_MOST_TOKENS, max(1, sum(map(_tokens, streams)))) for streams in (plan.inputs, plan.targets)
    )
    least_shown, least_asked = max(1, shown // 16), max(1, asked // 4)
    steps = round(_TOKENS / (_SAMPLES * (shown + asked) / 2))
    steps = min(max(steps, _STEPS[0]), _STEPS[1])
    stream = plan.stream(given).name if given else ""
    from_one = [f"  - {{preset: from, stream: {stream}}}   # and everything from {given}"] if given else []
    lines = [
        "# Drafted by `fourm init`: a first run, some minutes long on a CPU. A model that is to be used",
        "# needs a larger size, more steps and more samples; docs/training.md has every key.",
        "",
        f"datasets: {{{dataset}: 1}}",
        "",
        "# Tokens of a sample that are shown, and that are predicted: each sample draws from these ranges.",
        f"budget: {{input: [{least_shown}, {shown}], target: [{least_asked}, {asked}]}}",
        "",
        "masks:",
        "  - {preset: all_to_all, alpha: [0.2, 1, 5]}   # anything from anything",
        *from_one,
        "",
        "model: {size: nano}                    # then tiny, small, base, large, xlarge",
        f"steps: {{total: {steps}, samples_per_step: {_SAMPLES}, warmup: {steps // 10}}}",
        "optimizer: {lr: 2.0e-3}                # for nano; larger sizes want less",
    ]
    return "\n".join(lines) + "\n"


def target_of(plan: Plan, given: str) -> str:
    """The modality to predict first: an image, else what has the most tokens; not the one that is given."""
    streams = [stream for stream in plan.targets if stream.modality != given] or list(plan.targets)
    return max(streams, key=lambda stream: (stream.kind == "image", _tokens(stream))).modality


def _tokens(stream: Stream) -> int:
    return stream.length
