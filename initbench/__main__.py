"""Run the command line, `initbench`, as `python -m initbench`."""

from initbench.cli import main

if __name__ == "__main__":
    main()
