"""A cell as a script: a plain PyTorch program that trains it, for readers who trust no framework."""
