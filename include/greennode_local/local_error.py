"""What can go wrong with a local deployment, said so that the reader can act on it."""


class LocalError(Exception):
    """The deployment, or the run in it, failed; the message is for the person at the terminal."""
