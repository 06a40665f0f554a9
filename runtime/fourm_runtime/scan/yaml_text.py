"""A draft as YAML text: every entry under comments that say what was seen and what may have to be changed."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from fourm_runtime.scan.names import printable
from fourm_runtime.scan.proposal import Found, Skipped
from fourm_schema.yaml_writer import write_yaml

WIDTH = 100
_LONGEST_REMARK = 2000


def write_draft(
    folder: Path,
    head: Mapping[str, object],
    entries: Mapping[str, object],
    found: Sequence[Found],
    skipped: Sequence[Skipped],
    remarks: Iterable[str],
) -> str:
    """Write the text of a draft.

    Args:
        folder: that was looked at.
        head: what stands before the modalities.
        entries: name -> keys of the modality.
        found: the same modalities, with what there is to say of each.
        skipped: what is no part of them.
        remarks: what there is to say of the whole.
    """
    lines = [
        *_comment(f"Drafted by `fourm init` from {folder.resolve().name}/: what the data there seems to be."),
        *_comment("Read each comment, change what is wrong, then: fourm validate FILE; fourm explain FILE."),
    ]
    for remark in remarks:
        lines += _comment(remark)
    if skipped:
        lines += ["#", *_comment("Left out:")]
        for left in skipped:
            lines += _comment(f"- {left.what}: {left.why}", hang="  ")
    lines += ["", *write_yaml(head).splitlines(), "", "modalities:"]
    for item in found:
        comments = [f"{item.origin}; seen in {item.seen}.", *item.notes]
        comments += [f"Before the import: {need}." for need in item.before_import]
        comments += [f"The file of samples was drafted so: {change}." for change in item.written]
        comments += [f"Before training: {item.before_training}."] if item.before_training else []
        for comment in comments:
            lines += _comment(comment, indent="  ", hang="  ")
        # Written inside a mapping, where a short entry goes on one line.
        lines += [*write_yaml({"modalities": {item.name: entries[item.name]}}).splitlines()[1:], ""]
    return "\n".join(lines[:-1]) + "\n"


def _comment(text: str, indent: str = "", hang: str = "") -> Iterator[str]:
    """A remark as comment lines, on which no name from the disk can end."""
    first, rest = f"{indent}# ", f"{indent}# {hang}"
    yield from textwrap.wrap(
        printable(text, _LONGEST_REMARK),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
    )
