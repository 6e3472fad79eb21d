"""What an answer may be: response formats and tools become grammars."""
