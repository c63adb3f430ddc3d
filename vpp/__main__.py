"""``python -m vpp``: the same as the ``vpp`` command."""

from vpp.entrypoints.cli import main

if __name__ == "__main__":
    main()
