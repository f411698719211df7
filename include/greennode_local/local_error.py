"""The error of a local deployment, whose message says what to do."""


class LocalError(Exception):
    """The deployment, or the run in it, failed; the message is for the person at the terminal."""
