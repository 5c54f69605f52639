"""The experiments behind docs/experiments.md: each table by one command, from job files of the add-on's `collect`."""
