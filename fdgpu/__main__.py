"""``python -m fdgpu``: the command line, for where the script ``fdgpu`` is not on the path."""

from fdgpu.cli import main

if __name__ == "__main__":
    main()
