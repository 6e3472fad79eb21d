"""What a request may be: its rules and limits."""
