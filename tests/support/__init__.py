"""Parts that tests share: tiny models made on the spot and a scripted engine."""
