"""``python -m stagkit.cli``: the command line."""

from stagkit.cli import main

if __name__ == "__main__":
    main()
