"""The playground: a page that tries out what is served."""
