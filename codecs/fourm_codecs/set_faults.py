"""All that is wrong with the records of a batch, as one error."""

from collections.abc import Sequence

from fourm_schema.errors import CodecError, Fault

MOST_FAULTS = 20
"""Faults that one message lists; more say no more."""


class RecordFaults(CodecError):
    """Several faults of a batch of sets; each names its value, item and field.

    Args:
        modality: whose values they are.
        faults: all of them, two or more; the message lists the first `MOST_FAULTS`.
    """

    def __init__(self, modality: str, faults: Sequence[Fault]) -> None:
        assert len(faults) > 1, "one fault is a CodecError of its own"
        self.modality, self.faults = modality, tuple(faults)
        lines = [f"{modality} has {len(faults)} faults:", *(f"  {fault}" for fault in faults[:MOST_FAULTS])]
        lines += [f"  and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        Exception.__init__(self, "\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.modality, self.faults)


def raise_faults(modality: str, faults: Sequence[Fault]) -> None:
    """Raise what was found, if anything was.

    Raises:
        CodecError: of one fault, or a `RecordFaults` of several.
    """
    if len(faults) > 1:
        raise RecordFaults(modality, faults)
    for fault in faults:
        raise CodecError(fault.where, fault.what, fault.got, fault.mend)
