"""Garbage in, statuses of the table out: the contract and the HTTP side under generated input."""
