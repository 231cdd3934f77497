"""The server: rewards over HTTP, in the words of those who ask for them."""
