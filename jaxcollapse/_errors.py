"""What the command line makes of errors: one line and an exit code; 2 usage, 1 a run that failed, 130 interrupted."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer


def _said(error: Exception) -> str | None:
    """The one line of a `ValueError` of the form "name: got …"; None for any other error."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and re.match(r"(--)?[\w.]+((, | )[\w.]+)?: got ", text) else None


@contextmanager
def blame(what: Path) -> Iterator[None]:
    """A ValueError before anything is computed is about what the user asked for: `what: name: got …`."""
    from jaxcollapse._experiment import UsageError

    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        if (text := _said(error)) is None:
            raise
        text = text.replace("try store=", "try --store ").replace("force_new=True", "--force-new")
        raise UsageError(f"{what}: {text}") from None


@contextmanager
def errors(file: Path, kept: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Errors as one line and an exit code; what the experiment raises in another form as its own traceback, once."""
    from jaxcollapse._experiment import UsageError

    try:
        yield
    except typer.Exit:
        raise
    except UsageError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"{file}: interrupted. {kept()}".strip(), err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        text = _said(error) or (f"store: {error}" if isinstance(error, OSError) and error.errno else None)
        if text is None:
            _print_traceback(error, file)
        typer.echo(f"{file}: {text or 'failed'}. {kept()}".strip(), err=True)
        raise typer.Exit(1) from None


def _print_traceback(error: Exception, file: Path) -> None:
    """From the first frame in the experiment's file on, or all of it if there is none."""
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename != str(file.absolute()):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames or error.__traceback__)
