"""Fuzzing of the rooms that read what strangers wrote: `python -m tests.fuzz --help`."""
