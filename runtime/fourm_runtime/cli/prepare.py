"""`fourm train --prepare`: fit the codecs that are missing, and encode what is not encoded yet."""

import os
from collections.abc import Sequence
from pathlib import Path

from fourm_codecs.fit import FitRecipe
from fourm_runtime.cli.codec_folder import read_codecs, stored_codecs, token_modalities
from fourm_runtime.cli.codec_train import train_learned, train_set, train_vocabulary, trainable
from fourm_runtime.cli.progress import bars
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.location import Location
from fourm_schema.errors import TrainingError

BATCH = 32
_TOKENS = 1_200_000
"""Tokens that a codec is fitted to, about: two or three minutes of one CPU core."""

_STEPS = (100, 1000)
_ROUNDS = 200
"""Times that a value is seen: more of them would only be learned by heart."""


def prepare_samples(datasets: Sequence[Location], codecs: Path | None) -> None:
    """Make samples ready to train on; what is done already is not done again.

    Args:
        datasets: where the samples are. A codec is fitted to the first of them that needs it.
        codecs: the folder of codecs; it is made if it is not there.

    Raises:
        TrainingError: if no folder is given, or this is one of several processes.
        CodecError, DataError: as `fourm codec train` and `fourm data encode` do.
    """
    if codecs is None:
        raise TrainingError(
            "--prepare", "needs a folder for the codecs that it fits", mend="give one: --codecs codecs"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        mend = "run `fourm train --prepare` in one process first; it can be ended when training begins"
        raise TrainingError("--prepare", "writes for all processes", got="torchrun", mend=mend)
    codecs.mkdir(parents=True, exist_ok=True)
    for path in datasets:
        dataset = Dataset.open(path)
        fit_missing(dataset, codecs)
        made = read_codecs(dataset.schema, codecs)
        states = {status.stream: status.state for status in dataset.status(made).streams}
        with bars() as move:
            todo = [name for name, state in states.items() if state != "encoded"]
            if todo:
                dataset.encode(made, todo, progress=move)
                print(f"{path}: {', '.join(todo)} encoded, version {dataset.version}")


def fit_missing(dataset: Dataset, codecs: Path) -> None:
    """Fit what a dataset needs and a folder of codecs lacks, the words before what is written in them."""
    known = trainable(dataset)
    there = set(stored_codecs(dataset.schema, codecs))
    words = [name for name in known if name in dataset.schema.vocabularies]
    for name in words:
        if not there.issuperset(known[name]):
            print(train_vocabulary(dataset, name, known[name], codecs))
    there = set(stored_codecs(dataset.schema, codecs))
    for name in token_modalities(dataset.schema):
        if name in there or name not in known or name in words:
            continue
        is_set = dataset.schema.modalities[name].kind == "set"
        print((train_set if is_set else train_learned)(dataset, name, codecs, brief(dataset, name), True))


def brief(dataset: Dataset, modality: str) -> FitRecipe:
    """A fit of some minutes: fewer steps where a value has more tokens, or where there are few values."""
    tokens = dataset.plan.stream(modality).length
    steps = min(max(_TOKENS // (BATCH * tokens), _STEPS[0]), _STEPS[1])
    return FitRecipe(steps=min(steps, max(1, _ROUNDS * dataset.rows // BATCH)), batch_size=BATCH)
