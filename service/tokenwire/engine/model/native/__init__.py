"""Kernels in C, compiled on the machine that runs them. Where there is no compiler, torch does their work."""
