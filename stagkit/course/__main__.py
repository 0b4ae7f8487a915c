"""``python -m stagkit.course``: run the notebooks in order."""

import sys

from stagkit.course.runner import main

if __name__ == "__main__":
    sys.exit(main())
