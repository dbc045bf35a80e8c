"""Commands, what they take, and how they say what went wrong."""

import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from skphonon._version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    help="Phonons and force constants from inelastic neutron scattering.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_FAILED, _INTERRUPTED = 1, 130
_EXPECTED = (ValueError, OSError, ImportError, TypeError)
_STATE = {"debug": False}


class Method(StrEnum):
    """Ways from a spectrum to constants."""

    least_squares = "least-squares"
    posterior = "posterior"


def main() -> None:
    """Run a command; leave with a status of 1 and a sentence if it fails."""
    with warnings.catch_warnings():
        warnings.showwarning = _show  # type: ignore[assignment]
        try:
            status = app(standalone_mode=False)
            if status == _INTERRUPTED:
                raise KeyboardInterrupt
        except typer.Exit as end:
            sys.exit(end.exit_code)
        except (KeyboardInterrupt, typer.Abort):
            _tell("Interrupted; nothing was written.")
            sys.exit(_INTERRUPTED)
        except _EXPECTED as error:
            if _STATE["debug"]:
                raise
            _tell(f"Error: {error}")
            sys.exit(_FAILED)
        except Exception as error:  # of the command line itself, with a usage
            if hasattr(error, "show") and not _STATE["debug"]:
                error.show()
                sys.exit(getattr(error, "exit_code", 2))
            raise


@app.callback(invoke_without_command=True)
def begin(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.")
    ] = False,
) -> None:
    """Phonons and force constants from inelastic neutron scattering."""
    _STATE["debug"] = debug
    if version:
        typer.echo(f"skphonon {__version__}")
        raise typer.Exit


@app.command()
def look(
    file: Annotated[Path, typer.Argument(help="A measured file of any known kind.")],
    picture: Annotated[
        Path | None, typer.Option(help="Write a picture (.png, .pdf, .svg).")
    ] = None,
) -> None:
    """Tell what is in a file: axes, energies, temperature, units, calibration.

    Example: skphonon look silicon_Ei80_300K.nxspe --picture silicon.png
    """
    from skphonon.cli.looking import look_at

    typer.echo(look_at(file, picture))


@app.command()
def invert(
    measured: Annotated[Path, typer.Argument(help="A measured powder spectrum.")],
    structure: Annotated[
        Path,
        typer.Option(
            help="The crystal: a phonopy YAML file with force constants, or a "
            "structure (POSCAR, CIF, ...), which needs ASE."
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="Folder of what is written; must not exist.")
    ] = Path("skphonon-report"),
    method: Annotated[Method, typer.Option(help="How to fit.")] = Method.least_squares,
    temperature: Annotated[
        float | None, typer.Option(help="Of the sample in K, if not in the file.")
    ] = None,
    ei: Annotated[
        float | None, typer.Option(help="Incident energy in meV, if not in the file.")
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(help="Energy resolution, standard deviation in meV."),
    ] = None,
    shells: Annotated[
        int | None,
        typer.Option(help="Shells of neighbours; default: of the calculation, or 3."),
    ] = None,
    row: Annotated[
        int, typer.Option(help="Which spectrum of a file with several, from 0.")
    ] = 0,
) -> None:
    """Fit force constants to a spectrum, and write a report.

    Writes report.html, constants.csv, phonopy_params.yaml, fit.npz, log.txt and
    invert.py, the script that was run.

    Example: skphonon invert silicon.nxspe --structure phonopy_params_Si.yaml
    --temperature 300 --output silicon
    """
    from skphonon.cli.inverting import Request, invert_file

    asked = Request(
        measured=measured,
        structure=structure,
        method=method.value,
        temperature=temperature,
        incident_energy=ei,
        resolution=resolution,
        n_shells=shells,
        row=row,
    )
    typer.echo(invert_file(asked, output, _tell))


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def _show(message: Any, category: Any, *_: Any, **__: Callable[..., Any]) -> None:
    """Show a warning as a sentence."""
    _tell(f"{category.__name__}: {message}")
