"""Errors as they cross the wire."""

from __future__ import annotations

import msgspec
import pytest

from shared import errors
from shared.errors import AssistiveError, ErrorData, from_data
from shared.messages import Refused
from shared.wire import pack, unpack


def _classes(root: type[AssistiveError] = AssistiveError) -> list[type[AssistiveError]]:
    return [root, *(found for child in root.__subclasses__() for found in _classes(child))]


OURS = [cls for cls in _classes() if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_each_error_crosses_the_wire_as_itself(cls: type[AssistiveError]) -> None:
    sent = cls("The mask 'windwos' is not there.", hint="There is 'windows'.")
    message = unpack(pack(Refused(sent.to_data()))).message
    assert isinstance(message, Refused)
    received = from_data(message.error)
    assert type(received) is cls
    assert (received.message, received.hint, received.code) == (sent.message, sent.hint, sent.code)
    assert received.exit_code == sent.exit_code


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in OURS]
    assert len(OURS) > 5
    assert sorted(set(codes)) == sorted(codes)


def test_each_class_states_a_code_of_its_own() -> None:
    assert [cls.__name__ for cls in OURS if "code" not in vars(cls)] == []


def test_the_code_of_a_newer_peer_is_still_an_error_with_its_words() -> None:
    received = from_data(ErrorData(code="moon-phase", message="Wrong moon.", hint="Wait."))
    assert type(received) is AssistiveError
    assert str(received) == "Wrong moon. Wait."


def test_an_error_reads_as_its_sentence_and_what_to_do() -> None:
    assert str(errors.InvalidInput("It has no faces.", hint="Choose another.")) == "It has no faces. Choose another."
    assert str(errors.InvalidInput("It has no faces.")) == "It has no faces."


def test_exit_codes_tell_success_and_usage_errors_of_python_apart() -> None:
    assert all(1 <= cls.exit_code <= 125 for cls in OURS)
    assert errors.UnknownTarget.exit_code == errors.InvalidInput.exit_code == 2


def test_error_data_cannot_be_changed() -> None:
    data = ErrorData("code", "message")
    with pytest.raises((AttributeError, msgspec.ValidationError)):
        data.code = "other"  # type: ignore[misc]
