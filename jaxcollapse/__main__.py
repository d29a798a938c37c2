"""`python -m jaxcollapse` and the console script `jaxcollapse`."""

from jaxcollapse._cli import app


def main() -> None:
    """Runs the command line."""
    app(prog_name="jaxcollapse")


if __name__ == "__main__":
    main()
