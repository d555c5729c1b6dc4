"""The rows of DNS."""
