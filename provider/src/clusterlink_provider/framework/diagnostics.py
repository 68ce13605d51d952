"""Messages to the user: what is wrong, where, and what to do.

Nothing is thrown at the user: logic collects diagnostics and goes on as far as it makes sense. `DiagnosticError`
carries them out of code that cannot go on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from clusterlink_provider.framework.paths import Path


def sentence(text: str) -> str:
    """Ends a text of somebody else as a sentence, so that another one can follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


class Severity(Enum):
    """How bad it is: an error ends the operation of this resource, a warning is only shown."""

    ERROR = 1
    WARNING = 2


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message: a short title, a text that says what was found and what to do, and the attribute to blame."""

    severity: Severity
    summary: str
    detail: str
    path: Path = ()


@dataclass(slots=True)
class Diagnostics:
    """The messages of one call, in the order they were found."""

    items: list[Diagnostic] = field(default_factory=list)

    def error(self, summary: str, detail: str, path: Path = ()) -> None:
        """Adds an error."""
        self.items.append(Diagnostic(Severity.ERROR, summary, detail, path))

    def warning(self, summary: str, detail: str, path: Path = ()) -> None:
        """Adds a warning."""
        self.items.append(Diagnostic(Severity.WARNING, summary, detail, path))

    def extend(self, other: "Diagnostics") -> None:
        """Adds the messages of another collection."""
        self.items.extend(other.items)

    @property
    def has_errors(self) -> bool:
        """Whether at least one message is an error."""
        return any(item.severity is Severity.ERROR for item in self.items)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class DiagnosticError(Exception):
    """Ends an operation with messages for the user; the framework shows them and logs no traceback."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        super().__init__("; ".join(f"{item.summary}: {item.detail}" for item in diagnostics))
        self.diagnostics = diagnostics

    @classmethod
    def of(cls, summary: str, detail: str, path: Path = ()) -> "DiagnosticError":
        """Makes the error of a single message."""
        diagnostics = Diagnostics()
        diagnostics.error(summary, detail, path)
        return cls(diagnostics)
