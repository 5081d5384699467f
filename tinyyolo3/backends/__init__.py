"""Backends: explicit tables of which function serves which layer."""
