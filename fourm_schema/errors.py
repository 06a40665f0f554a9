"""The whole error family. Each error says where, what, what was found, and how to mend it.

FourmError
|- SchemaError        a YAML file cannot be read (modalities, training recipe); carries every fault of it
|- PlanError          the schema is well-formed, but the asked-for plan cannot be built from it
|- CodecError         a value cannot be encoded, ids cannot be decoded, or a codec's files are damaged
|- DataError          a dataset, a row or a column is missing, damaged, stale or of the wrong shape
|- RequestError       a generation or evaluation request names what cannot be given or produced
|- CheckpointError    a checkpoint is missing, truncated, or disagrees with the schema
|- TrainingError      a run cannot start, resume or go on
|- BackendError       the attention backend cannot serve this device or these shapes
`- MissingExtraError  a verb needs an optional package that is not installed
"""

import difflib
from collections.abc import Iterable, Sequence

import attrs


@attrs.frozen
class Fault:
    """One thing that is wrong, as a person needs to read it.

    Attributes:
        where: file, dotted path, column or tensor at which it was found.
        what: the rule that does not hold.
        got: what was found instead; empty when there is nothing to show.
        mend: the next thing to do; empty when `what` already says it.
        line: line in the file, from 1; None when there is no file.
        column: column in the line, from 1.
    """

    where: str
    what: str
    got: str = ""
    mend: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}, column {self.column}: "
        parts = [f"{self.where}: {self.what}"]
        if self.got:
            parts.append(f"got {self.got}")
        if self.mend:
            parts.append(self.mend)
        return place + "; ".join(parts)


class FourmError(Exception):
    """Base of every error a user of this framework can cause.

    Args:
        where: the place, e.g. a path, a stream name, a column.
        what: what is wrong.
        got: what was found.
        mend: what to do about it.
    """

    def __init__(self, where: str, what: str, got: str = "", mend: str = "") -> None:
        self.faults: tuple[Fault, ...] = (Fault(where, what, got, mend),)
        super().__init__(str(self.faults[0]))

    def __reduce__(self) -> tuple[object, ...]:
        first = self.faults[0]
        return type(self), (first.where, first.what, first.got, first.mend)


class SchemaError(FourmError):
    """Every fault of one YAML file, in the order of its lines.

    Args:
        source: the file (or `<text>`) that was read.
        faults: at least one fault.
    """

    def __init__(self, source: str, faults: Iterable[Fault]) -> None:
        found = sorted(faults, key=lambda fault: (fault.line or 0, fault.column or 0, fault.where))
        assert found, "a SchemaError needs a fault"
        self.source = source
        count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
        lines = [f"{source} has {count}:", *(f"  {fault}" for fault in found)]
        Exception.__init__(self, "\n".join(lines))
        self.faults = tuple(found)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.source, self.faults)


class PlanError(FourmError):
    """The schema is well-formed, but the asked-for plan cannot be built from it."""


class CodecError(FourmError):
    """A value cannot be encoded, ids cannot be decoded, or a codec's files are not what they should be."""


class DataError(FourmError):
    """A dataset, a row or a column is missing, damaged, stale or of the wrong shape."""


class RequestError(FourmError):
    """A request names what cannot be given or produced."""


class CheckpointError(FourmError):
    """A checkpoint is missing, truncated, or disagrees with the schema."""


class TrainingError(FourmError):
    """A run cannot start, resume or go on."""


class BackendError(FourmError):
    """The attention backend cannot serve this device or these shapes."""


class MissingExtraError(FourmError):
    """A verb needs an optional package that is not installed.

    Args:
        verb: what was asked for.
        extra: the extra of this distribution that brings it.
    """

    def __init__(self, verb: str, extra: str) -> None:
        self._arguments = (verb, extra)
        super().__init__(
            verb, f"needs the extra {extra!r}", mend=f"install it with: pip install 'fourm-schema[{extra}]'"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._arguments


def nearest(name: str, known: Sequence[str]) -> str:
    """Say which known name was probably meant, and which names exist.

    >>> nearest("captoin", ["caption", "digit"])
    "did you mean 'caption'? known: caption, digit"
    >>> nearest("zebra", ["caption", "digit"])
    'known: caption, digit'
    """
    listed = f"known: {', '.join(sorted(known))}" if known else "none is declared"
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? {listed}" if close else listed
