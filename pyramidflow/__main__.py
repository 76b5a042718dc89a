"""``python -m pyramidflow``."""

from pyramidflow.cli import main

if __name__ == "__main__":
    main()
