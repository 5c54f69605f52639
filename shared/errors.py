"""One error hierarchy for both sides of the wire.

Each error has a stable ``code`` for programs, a sentence for a person (``message``: names the input that is wrong)
and what to do about it (``hint``). Errors cross the wire as :class:`ErrorData` and are raised again on the other side
as the class they were.
"""

from __future__ import annotations

import msgspec


class ErrorData(msgspec.Struct, frozen=True):
    """An error as it travels."""

    code: str
    message: str
    hint: str = ""


class AssistiveError(Exception):
    """Base of every error that a user may see without a traceback."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_data(self) -> ErrorData:
        """This error as it travels."""
        return ErrorData(code=self.code, message=self.message, hint=self.hint)


class InvalidInput(AssistiveError):
    """Something the user gave (an object, a file, a setting, an array) cannot be used as it is."""

    code = "invalid-input"
    exit_code = 2


class UnknownTarget(InvalidInput):
    """A target that is no class index, label or set."""

    code = "unknown-target"


class UnknownModel(InvalidInput):
    """A classifier name that no registry knows."""

    code = "unknown-model"


class MissingWeights(InvalidInput):
    """A classifier that is known, but whose weight file is not on this machine."""

    code = "missing-weights"


class OutputFailed(AssistiveError):
    """A result could not be written (permissions, disk full)."""

    code = "output-failed"
    exit_code = 5


class ServerUnreachable(AssistiveError):
    """No answer from the server within the time allowed, or the server could not be started."""

    code = "server-unreachable"
    exit_code = 3


class UntrustedServer(AssistiveError):
    """A server elsewhere whose key nobody has said to be right, or that was trusted with another key."""

    code = "untrusted-server"
    exit_code = 3


class AddressInUse(AssistiveError):
    """The server's own address is taken by another program."""

    code = "address-in-use"
    exit_code = 3


class ProtocolMismatch(AssistiveError):
    """Add-on and server speak different versions of the protocol."""

    code = "protocol-mismatch"
    exit_code = 3


class JobFailed(AssistiveError):
    """The job ended in an error on the server that is not the user's input."""

    code = "job-failed"
    exit_code = 4


class UnknownJob(AssistiveError):
    """A job id that this server has not seen, or has already let go."""

    code = "unknown-job"
    exit_code = 4


def _all_classes(root: type[AssistiveError]) -> list[type[AssistiveError]]:
    return [root, *(found for child in root.__subclasses__() for found in _all_classes(child))]


def from_data(data: ErrorData) -> AssistiveError:
    """The error that `data` describes, as its own class; codes of a newer peer become plain `AssistiveError`."""
    by_code = {cls.code: cls for cls in _all_classes(AssistiveError)}
    return by_code.get(data.code, AssistiveError)(data.message, hint=data.hint)
