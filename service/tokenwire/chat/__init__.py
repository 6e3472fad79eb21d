"""What turns a chat into tokens and tokens back into a chat. Knows neither sockets nor torch."""
