"""The browser of a finished run."""
