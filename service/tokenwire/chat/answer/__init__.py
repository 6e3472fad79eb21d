"""What the caller gets: tokens become reasoning, content and tool calls."""
