"""What is read over HTTP."""
