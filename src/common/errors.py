"""Exceptions that are shown to the user as one line, without a traceback."""


class UserError(Exception):
    """Bad input: the message is one line with what was expected, what was given and what to change.

    The commands print it without a traceback and exit with status 2.
    """


class DivergenceError(UserError):
    """Training produced a loss, a gradient or weights that are not finite."""


class CallbackError(BaseException):
    """Carries an error out of a Hydra callback: Hydra turns an Exception there into a warning."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
