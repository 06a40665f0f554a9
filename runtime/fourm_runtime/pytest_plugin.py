"""pytest plugin: `pytest --modalities my.yaml` collects one test per modality and law.

Nothing is imported before the option is given, so that the plugin costs other test suites nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fourm_runtime.lawbook.book import Case
    from fourm_schema.lawbook.search import Profile


class LawBroken(Exception):
    """A law does not hold; the message is that of `fourm test`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("fourm", "laws of a fourm schema")
    group.addoption(
        "--modalities",
        metavar="FILE",
        action="append",
        default=[],
        help="collect the laws of each modality of this YAML file; repeat it for more files",
    )
    group.addoption("--modality", metavar="NAME", action="append", help="of these modalities only")
    group.addoption(
        "--law-codecs", metavar="FOLDER", help="fitted codecs, as `fourm codec train` writes them"
    )
    group.addoption("--law-examples", metavar="N", type=int, help="examples of each law and modality")
    group.addoption("--law-seed", metavar="N", type=int, default=0, help="same seed, same examples")
    group.addoption(
        "--thorough-laws", action="store_true", help="200 examples of each, not 5 or 2; with --fitted-laws"
    )
    group.addoption(
        "--fitted-laws", action="store_true", help="also learned codecs after a short fit to drawn values"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest collect the files, wherever they lie."""
    for file in _files(config):
        asked = [argument.partition("::")[0] for argument in config.args]
        if file not in asked:
            config.args.append(file)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the laws of a YAML file that was named."""
    named = [Path(file).resolve() for file in _files(parent.config)]
    if file_path.resolve() not in named:
        return None
    collector: pytest.Collector = ModalitiesFile.from_parent(parent, path=file_path)
    return collector


def _files(config: pytest.Config) -> list[str]:
    files: list[str] = config.getoption("--modalities") or []
    return files


class ModalitiesFile(pytest.File):
    """A YAML file of modalities."""

    def collect(self) -> Iterator[pytest.Collector]:
        """One node per modality, and one of the laws that speak of all of them together."""
        from fourm_runtime.cli.codec_folder import stored_codecs
        from fourm_runtime.lawbook.book import cases
        from fourm_schema.errors import FourmError
        from fourm_schema.lawbook.search import Profile
        from fourm_schema.load import load_schema

        option: Any = self.config.getoption
        profile = Profile.of(option("--thorough-laws"), option("--law-examples"), option("--law-seed"))
        folder = option("--law-codecs")
        try:
            schema = load_schema(self.path)
            trained = stored_codecs(schema, Path(folder)) if folder else {}
            fit = option("--fitted-laws") or option("--thorough-laws")
            found = cases(schema, trained, option("--modality"), fit)
        except FourmError as error:
            raise self.CollectError(str(error)) from None
        for subject in dict.fromkeys(case.subject for case in found):
            own = [case for case in found if case.subject == subject]
            yield LawsOfSubject.from_parent(self, name=subject, cases=own, profile=profile)


class LawsOfSubject(pytest.Collector):
    """The laws of one modality."""

    def __init__(self, cases: "list[Case]", profile: "Profile", **keywords: Any) -> None:
        super().__init__(**keywords)
        self._cases, self._profile = cases, profile

    def collect(self) -> Iterator[pytest.Item]:
        """One test per law."""
        for case in self._cases:
            yield Law.from_parent(self, name=case.law, case=case, profile=self._profile)


class Law(pytest.Item):
    """One law of one modality."""

    def __init__(self, case: "Case", profile: "Profile", **keywords: Any) -> None:
        super().__init__(**keywords)
        self._case, self._profile = case, profile

    def runtest(self) -> None:
        """Try the law; one that cannot be tried is skipped, with the reason."""
        if self._case.not_tested:
            pytest.skip(self._case.not_tested)
        outcome = self._case.run(self._profile)
        if outcome.not_tested:
            pytest.skip(outcome.not_tested)
        if outcome.fault:
            raise LawBroken(f"{outcome.statement}\n{outcome.fault}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The law and the counter-example; a traceback would show how laws are searched."""
        if isinstance(excinfo.value, LawBroken):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it is, for the heading of a failure."""
        return self.path, None, f"{self._case.subject}: {self._case.law}"
