"""`python -m initbench` is `initbench`."""

from initbench.cli import main

if __name__ == "__main__":
    main()
