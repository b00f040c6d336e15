"""The operating system: files, cache folders, threads, child processes, hardware; independent of experiments."""
