"""`python -m ci_controller` and the installed command `ci-controller`."""

from ci_controller.cli import main

if __name__ == "__main__":
    main()
