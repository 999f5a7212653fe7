"""Bringing a file: its bytes to a `.part` file, and the proof that it is whole."""
