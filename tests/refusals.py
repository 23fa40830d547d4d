"""What a call says when it refuses its arguments."""

import re


def assert_refused(message, function, *arguments, **options):
    """Assert that a call raises a ValueError whose message has the regular expression."""
    try:
        function(*arguments, **options)
        refusal = "not refused"
    except ValueError as error:
        refusal = str(error)
    called = f"{getattr(function, '__name__', function)}(*{arguments}, **{options})"
    assert re.search(message, refusal), f"{called}: {refusal}"


def check_refusals(call, cases):
    """Assert that ``call(*arguments)`` is refused with the message of each (arguments, message)."""
    for arguments, message in cases:
        assert_refused(message, call, *arguments)
