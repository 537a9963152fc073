"""The one exception that is meant for people."""


class SaywhyError(Exception):
    """What was wrong, with which input, and what to do about it, in one sentence.

    Everything a user can get wrong ends here; the command line prints the message and never a traceback.
    """
