"""A trained model as a user meets it: give the values you have, name the values you want.

>>> model = AnyToAny.from_pretrained("runs/digits")  # doctest: +SKIP
>>> model.generate({"digit": picture}, ["caption"], seed=1)[0]["caption"].value  # doctest: +SKIP
'a seven'
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import attrs
import torch

from fourm_codecs.base import Codec, StoredCodec
from fourm_runtime.checkpoints.store import Checkpoint, Origin, load, save
from fourm_runtime.encoder import Encoder, Features
from fourm_runtime.generation.fitting import misfits
from fourm_runtime.generation.plan import GenerationPlan, compile_request
from fourm_runtime.generation.request import Prefix, Request, RequestFaults, TargetsLike, read_targets
from fourm_runtime.generation.run import run_jobs
from fourm_runtime.generation.values import Generated, Values
from fourm_runtime.hub import fetch, is_hub_id, upload
from fourm_runtime.released.file import is_released
from fourm_runtime.released.importing import import_4m
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.errors import CheckpointError, Fault, RequestError
from fourm_schema.plan import Plan
from fourm_schema.schema import Schema

Inputs = Mapping[str, object]
"""Stream or modality name -> raw value, a `Generated` one, or a `Prefix`; None counts as not given."""

BATCH_SIZE = 16


class AnyToAny:
    """A model, what its data is, and the codecs between its tokens and values.

    Args:
        schema: what the data is.
        model: a transformer over the schema's streams.
        codecs: modality -> codec; those that follow from the schema alone may be missing.

    Raises:
        CodecError: if a codec is missing that has to be trained.
    """

    def __init__(
        self, schema: Schema, model: AnyToAnyTransformer, codecs: Mapping[str, Codec] | None = None
    ) -> None:
        self.schema, self.model = schema, model
        self._values = Values(schema, model.plan, codecs)
        self._origin: Origin | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: Path | str,
        device: torch.device | str = "cpu",
        averaged: bool = False,
        *,
        revision: str | None = None,
        text_tokenizer: Path | str | None = None,
        tokenizers: Mapping[str, Path | str] | None = None,
    ) -> Self:
        """Load a checkpoint, the latest one of a run, or a released 4M model.

        Args:
            path: directory of a checkpoint or of a run; OWNER/NAME of a model on the Hugging Face hub; or a
                released 4M model, as `fourm_runtime.released.importing.import_4m` takes it.
            device: where the model is to compute.
            averaged: take the moving average of the weights that the run kept (`optimizer.ema`).
            revision: branch, tag or commit of a model on the hub.
            text_tokenizer: tokenizer file of a released 4M model.
            tokenizers: of its images and vectors, by 4M name: folders of codecs, or released files.

        Raises:
            CheckpointError: if it is missing or damaged, or has no average.
            BackendError: if it is on the hub, and the extra `hub` is not installed.
        """
        place = fetch(str(path), revision) if is_hub_id(path) else Path(path)
        if is_released(place):
            checkpoint = import_4m(place, text_tokenizer, tokenizers)
        elif tokenizers:
            raise CheckpointError(
                str(path),
                "is no released model, and has its tokenizers already",
                mend="import the released model anew with these",
            )
        else:
            checkpoint = load(place, averaged=averaged)
        made = cls(checkpoint.schema, checkpoint.model().to(device), checkpoint.codecs)
        made._origin = checkpoint.origin
        return made

    def save_pretrained(self, path: Path | str) -> None:
        """Write a checkpoint; `from_pretrained` reads it back.

        Raises:
            CheckpointError: if a codec is not one that can be stored.
        """
        stored: dict[str, StoredCodec] = {}
        for modality, codec in self.codecs.items():
            if not isinstance(codec, StoredCodec):
                raise CheckpointError(
                    f"codec of {modality}",
                    "cannot be stored: it does not say what it is made of",
                    got=type(codec).__name__,
                    mend="give it the attributes `entry` and `parts` (see fourm_codecs.base.StoredCodec)",
                )
            stored[modality] = codec
        checkpoint = Checkpoint.of(self.model, self.schema, stored)
        save(path, attrs.evolve(checkpoint, origin=self._origin))

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Put the checkpoint on the Hugging Face hub; `from_pretrained(repo_id)` reads it back.

        Args:
            repo_id: OWNER/NAME; made if it is not there.
            private: make it for its owner alone.
            token: None takes that of `hf auth login`.

        Returns:
            Where it can be seen.

        Raises:
            BackendError: if the extra `hub` is not installed.
            CheckpointError: if a codec cannot be stored, or the hub refuses.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(Path(folder) / "model")
            return upload(Path(folder) / "model", repo_id, private=private, token=token)

    def encoder(self) -> Encoder:
        """The encoder on its own, with the same weights: values become features."""
        return Encoder(self.model, self._values)

    def embed(self, inputs: Inputs | Sequence[Inputs], *, batch_size: int = BATCH_SIZE) -> Features:
        """One feature per sample, (N, D): see `fourm_runtime.encoder.Encoder.embed`.

        Raises:
            RequestError: naming every value that cannot be encoded, or a sample that gives none.
        """
        return self.encoder().embed(inputs, batch_size=batch_size)

    @property
    def plan(self) -> Plan:
        """The streams of the model."""
        return self.model.plan

    @property
    def codecs(self) -> dict[str, Codec]:
        """Modality -> codec of its token stream."""
        return self._values.codecs

    def generate(
        self,
        inputs: Inputs | Sequence[Inputs],
        targets: TargetsLike | None = None,
        *,
        plan: GenerationPlan | None = None,
        chain: bool = True,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
        **settings: object,
    ) -> list[dict[str, Generated]]:
        """Predict modalities from those that are given.

        Args:
            inputs: values of one sample, or of several; each sample may give other modalities. A modality's
                name feeds its dense stream if it has one, else its tokens; `digit.tokens` says which.
            targets: names, `Target`s, or a mapping of names to settings.
            plan: what `compile` made of targets, chain and settings, in place of these.
            chain: each target also sees those before it; else all see only the inputs.
            seed: same seed and same device: same tokens, whatever the batch size.
            batch_size: samples that are generated side by side.
            settings: of all targets that do not say otherwise: temperature, top_k, guidance, ... Those of
                grids (scheme, steps, schedules) pass sequences by.

        Returns:
            Modality -> generated value, one mapping per sample.

        Raises:
            RequestError: if the request cannot be served; it carries every fault, and is raised before
                anything is computed. Later only if the scores of the model are no numbers.
        """
        if plan is not None:
            extra = {"targets": targets is not None, "chain": not chain, **dict.fromkeys(settings, True)}
            twice = [name for name, given in extra.items() if given]
            requests, plans = self._planned(inputs, plan, seed, twice)
        else:
            requests = make_requests(self.plan, inputs, targets or (), settings, chain=chain, seed=seed)
            plans = compile_all(self.plan, requests)
        if batch_size < 1:
            raise RequestError("batch_size", "must be 1 or more", got=str(batch_size))
        jobs = self._values.jobs(plans, requests)
        legal, sets = self._values.meaningful(), self._values.sets()
        made = [
            produced
            for start in range(0, len(jobs), batch_size)
            for produced in run_jobs(self.model, jobs[start : start + batch_size], legal, sets=sets)
        ]
        return [self._values.decode(produced) for produced in made]

    def _planned(
        self, inputs: Inputs | Sequence[Inputs], plan: GenerationPlan, seed: int, extra: Sequence[str]
    ) -> tuple[list[Request], list[GenerationPlan]]:
        """One request per sample, all of them to run by one plan."""
        requests = make_requests(self.plan, inputs, (), {}, seed=seed)
        faults = [Fault(name, "the plan has it already", mend="give the plan, or this") for name in extra]
        faults += dict.fromkeys(fault for one in requests for fault in misfits(self.plan, plan, one))
        if faults:
            raise RequestFaults(faults)
        return requests, [plan] * len(requests)

    def compile(
        self, inputs: Inputs | Iterable[str], targets: TargetsLike, *, chain: bool = True, **settings: object
    ) -> GenerationPlan:
        """Check a request and lay out what `generate` would run for it: `str(plan)` explains it.

        Args:
            inputs: values of one sample, or just their names; `Prefix` where a sequence is begun.
            targets, chain, settings: as in `generate`.

        Returns:
            A plan to read, to change (`attrs.evolve`) and to give to `generate`, for any samples that give
            the same modalities.

        Raises:
            RequestError: as `generate`.
        """
        given = inputs if isinstance(inputs, Mapping) else dict.fromkeys(inputs, True)
        (request,) = make_requests(self.plan, given, targets, settings, chain=chain)
        return compile_request(self.plan, request)

    def explain(
        self, inputs: Inputs | Iterable[str], targets: TargetsLike, *, chain: bool = True, **settings: object
    ) -> str:
        """Say what `generate` would do, without doing it.

        Args:
            inputs: values of one sample, or just their names.
            targets, chain, settings: as in `generate`.

        Raises:
            RequestError: as `generate`.
        """
        return str(self.compile(inputs, targets, chain=chain, **settings))


def make_requests(
    plan: Plan,
    inputs: Inputs | Sequence[Inputs],
    targets: TargetsLike,
    settings: Mapping[str, object],
    *,
    chain: bool = True,
    seed: int = 0,
) -> list[Request]:
    """Write what `AnyToAny.generate` takes as requests, numbered from 0.

    Raises:
        RequestError: if a setting is unknown.
    """
    samples = [
        {name: value.value if isinstance(value, Generated) else value for name, value in sample.items()}
        for sample in ([inputs] if isinstance(inputs, Mapping) else inputs)
    ]
    wanted = read_targets(targets, plan, settings)
    return [Request(sample, wanted, chain, seed, index) for index, sample in enumerate(samples)]


def compile_all(plan: Plan, requests: Sequence[Request]) -> list[GenerationPlan]:
    """Compile requests, those that give the same modalities once.

    Raises:
        RequestError: with every fault of every request; one that all share is told once, another with the
            numbers of the requests that have it.
    """
    known: dict[tuple[object, ...], GenerationPlan] = {}
    plans, faults = [], dict[Fault, list[int]]()
    for number, request in enumerate(requests):
        key = tuple((name, isinstance(value, Prefix)) for name, value in request.given.items())
        try:
            if key not in known:
                known[key] = compile_request(plan, request)
            plans.append(known[key])
        except RequestFaults as error:
            for fault in error.faults:
                faults.setdefault(fault, []).append(number)
    if faults:
        raise RequestFaults(
            fault if len(numbers) == len(requests) else _numbered(fault, numbers)
            for fault, numbers in faults.items()
        )
    return plans


def _numbered(fault: Fault, requests: Sequence[int]) -> Fault:
    """A fault that some requests have, of which the first few are named."""
    named = ", ".join(map(str, requests[:5])) + (", ..." if len(requests) > 5 else "")
    return attrs.evolve(fault, where=f"request{'s'[: len(requests) > 1]} {named}, {fault.where}")
