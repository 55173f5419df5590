"""Exceptions that are shown to the user as one line, without a traceback."""


class UserError(Exception):
    """Invalid input: the message is one line with what was expected, what was given and what to change.

    The commands print it without a traceback and exit with status 2.
    """


class DivergenceError(UserError):
    """Training that produced a loss, a gradient or weights that are not finite."""


class CallbackError(BaseException):
    """Carrier of an error out of a Hydra callback.

    Hydra turns an `Exception` that a callback raises into a warning; a `BaseException` passes.

    Args:
        error: The exception to carry, kept as the attribute `error`; its text becomes the message.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
