"""Weights of other frameworks: read without running code, renamed, checked."""
