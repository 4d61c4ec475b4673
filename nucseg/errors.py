"""The errors a user can cause, all derived from one class."""


class NucsegError(Exception):
    """Base of every error that nucseg raises on purpose; its message names the file or value at fault."""


class DataError(NucsegError, ValueError):
    """A file, array or dataset that cannot be used as given."""


class UnknownNameError(NucsegError, KeyError):
    """A dataset, split, profile or experiment name that does not exist; the message lists those that do."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would put the message in quotes.
        return str(self.args[0]) if self.args else ""
