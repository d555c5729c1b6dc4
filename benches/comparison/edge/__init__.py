"""The rows of HTTP."""
