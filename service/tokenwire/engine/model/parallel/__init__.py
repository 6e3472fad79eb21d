"""Tensor parallel: one model over several devices, a process for each."""
