"""Whose turn it is: a bounded queue before the engine, its order, and how long one waits. No sockets, no torch."""
