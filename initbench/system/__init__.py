"""The operating system: files, folders for caches, threads, child processes. Knows nothing of the experiments."""
