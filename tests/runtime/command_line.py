"""The command line, run in this process."""

from typing import NamedTuple

from typer.testing import CliRunner

from fourm_runtime.cli.app import app


class Outcome(NamedTuple):
    """How a command line ended.

    Attributes:
        status: its exit status.
        printed: what stands on stdout.
        said: the words on stderr; frames and line breaks of panels are taken out.
    """

    status: int
    printed: str
    said: str


def run(*arguments: object) -> Outcome:
    """Run a command line, however it ends."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return Outcome(done.exit_code, done.stdout, " ".join(done.stderr.replace("│", " ").split()))


def fourm(*arguments: object) -> str:
    """Run a command line that has to succeed; give back what it printed."""
    status, printed, said = run(*arguments)
    assert status == 0, printed + said
    return printed


def refused(*arguments: object) -> str:
    """Run a command line that has to be refused; give back the words of the panel."""
    status, printed, said = run(*arguments)
    assert status == 2, printed + said
    return said
