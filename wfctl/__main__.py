"""`python -m wfctl`: the command, where a shell does not find it by its name."""

from wfctl.cli.main import main

if __name__ == "__main__":
    main()
