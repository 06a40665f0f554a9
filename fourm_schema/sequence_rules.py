"""Rules of what has positions by rank: texts, and sequences of vectors."""

from collections.abc import Iterator

from fourm_schema.errors import Fault
from fourm_schema.value_rules import is_count, strings
from fourm_schema.yaml_tree import Path, Tree, shown


def position_faults(tree: Tree, path: Path, longest_key: str) -> Iterator[Fault]:
    """Every token that can be shown has a position row, and every position of a target too.

    Args:
        tree: the file.
        path: of the modality.
        longest_key: the key that says how many tokens it has at most.
    """
    longest, rows = tree.get(*path, longest_key), tree.get(*path, "position_rows")
    if is_count(rows) and is_count(longest) and rows < longest:
        what = f"must be {longest} or more, as {longest_key} is"
        yield tree.fault((*path, "position_rows"), what, str(rows))
    targets = tree.get(*path, "target_positions")
    most = rows if is_count(rows) else 2 * (longest + 1) if is_count(longest) else None
    if is_count(targets) and most is not None and targets > most:
        what = f"must be at most {most}, the rows of its position table"
        yield tree.fault((*path, "target_positions"), what, str(targets))


def vector_sequence_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    """A sequence of vectors is shown as values; what only a sequence has stands beside max_length."""
    entry = tree.mapping(*path)
    if "max_length" in entry:
        if strings(entry.get("shown")) != ["values"]:
            what, mend = "must be shown as values where it is a sequence", "write shown: [values]"
            where: Path = (*path, "shown") if "shown" in entry else (*path, "max_length")
            yield tree.fault(where, what, shown(entry.get("shown", "left out")), mend)
        yield from position_faults(tree, path, "max_length")
        if "axes" in entry:
            mend = "remove one of the two"
            yield tree.fault((*path, "axes"), "cannot stand beside max_length", mend=mend, at_key=True)
    elif "position_rows" in entry:
        mend = "write max_length: N, or remove it"
        yield tree.fault(
            (*path, "position_rows"), "does nothing where there is one vector", mend=mend, at_key=True
        )
