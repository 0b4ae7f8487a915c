"""``python -m stagkit.cli``."""

from stagkit.cli import main

main()
