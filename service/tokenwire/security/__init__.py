"""Who may call, and how connections are protected: API keys and TLS, from files that may change at any time."""
