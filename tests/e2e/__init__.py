"""The real parts together: engine process, model, servers, clients and command line."""
