"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """Bad input: the message is one line that says what was expected, what came and what to change.

    The commands print it without a traceback and exit with status 2.
    """


class DivergenceError(UserError):
    """Training produced a loss or gradient that is no number."""


class CallbackError(BaseException):
    """Carries an error out of a Hydra callback: Hydra turns an Exception there into a warning."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
