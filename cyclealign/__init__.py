"""The Python client and the command line of the service; they know only HTTP."""

DEFAULT_URL = "http://127.0.0.1:8100"
"""Where `cyclealign up` answers."""
