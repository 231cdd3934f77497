"""`python -m assay`, the same as `assay`."""

from assay.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
