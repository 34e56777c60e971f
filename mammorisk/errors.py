"""The one exception that is a message for the user and not a defect of ours."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: bad value, missing file, impossible request.

    The text says what was expected, what was found and what to do. Commands print it without a stack trace and
    end with exit status 1; from Python it is an ordinary exception.
    """
