"""Grammars: tried out, compiled, and followed token by token."""
