"""Processes, start-up, the command line and what is printed."""
