"""Completions that live by themselves: readers come, go and come back."""
