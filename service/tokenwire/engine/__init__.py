"""The generation engine: requests of token ids in, token ids out. Knows neither text nor sockets of clients."""
