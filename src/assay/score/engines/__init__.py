"""Where the windows of a job are scored: in this process, or by others that deal with Ray."""
