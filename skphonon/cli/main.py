"""Commands, what they take, and how they say what went wrong."""

import logging
import signal
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
    network = "network"
    compare = "compare"


def main() -> None:
    """Run a command; leave with a status of 1 and a sentence if it fails."""
    with warnings.catch_warnings():
        warnings.showwarning = _show  # type: ignore[assignment]
        before = signal.signal(signal.SIGTERM, _stop)
        try:
            status = app(standalone_mode=False)
            if status == _INTERRUPTED:
                raise KeyboardInterrupt
        except typer.Exit as end:
            sys.exit(end.exit_code)
        except (KeyboardInterrupt, typer.Abort):
            _tell(
                "Interrupted; nothing half-written is left. A folder of spectra goes "
                "on with the same command."
            )
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
            if _STATE["debug"]:
                raise
            kind = type(error).__name__
            _tell(
                f"Error: {kind}: {error} (skphonon --debug shows where it comes from)"
            )
            sys.exit(_FAILED)
        finally:
            signal.signal(signal.SIGTERM, before)


def _stop(*_: Any) -> None:
    """Clean up after a signal to end as after Ctrl-C."""
    raise KeyboardInterrupt


@app.callback(invoke_without_command=True)
def begin(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the log is told.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.")
    ] = False,
) -> None:
    """Phonons and force constants from inelastic neutron scattering."""
    _STATE["debug"] = debug
    if verbose:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("skphonon").setLevel(logging.DEBUG)
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


_Structure = Annotated[
    Path | None,
    typer.Option(
        help="The crystal: a phonopy YAML file with force constants, or a structure "
        "(POSCAR, CIF, ...), which needs ASE."
    ),
]
_Temperature = Annotated[
    float | None, typer.Option(help="Of the sample in K, if not in the file.")
]
_Energy = Annotated[
    float | None, typer.Option(help="Incident energy in meV, if not in the file.")
]
_Resolution = Annotated[
    float | None,
    typer.Option(help="Energy resolution, standard deviation in meV."),
]
_Row = Annotated[
    int, typer.Option(help="Which spectrum of a file with several, from 0.")
]
_Shells = Annotated[
    int | None,
    typer.Option(
        help="Shells of neighbours; default: of the crystal, and as many more as the "
        "spectrum has evidence for."
    ),
]
_ForceField = Annotated[
    str,
    typer.Option(
        help="Of a structure file: a checkpoint of SevenNet, emt (a few metals), none "
        "(springs), or auto (SevenNet where it is installed, else springs)."
    ),
]


@app.command()
def invert(
    measured: Annotated[
        Path,
        typer.Argument(
            help="A measured powder spectrum; or aluminium, an example that needs no "
            "file."
        ),
    ],
    structure: _Structure = None,
    output: Annotated[
        Path, typer.Option(help="Folder of what is written; must not exist.")
    ] = Path("skphonon-report"),
    method: Annotated[
        Method,
        typer.Option(
            help="How to fit: seconds, minutes, a minute or two of training, or all of "
            "them and Nelder-Mead beside each other."
        ),
    ] = Method.least_squares,
    temperature: _Temperature = None,
    ei: _Energy = None,
    resolution: _Resolution = None,
    shells: _Shells = None,
    row: _Row = 0,
    force_field: _ForceField = "auto",
    network: Annotated[
        Path | None,
        typer.Option(help="A trained network (skphonon train) for --method network."),
    ] = None,
    spectra: Annotated[
        int, typer.Option(help="Simulated spectra that a network is trained on.")
    ] = 4000,
) -> None:
    """Fit force constants to a spectrum, and write a report.

    Writes report.html, constants.csv, phonopy_params.yaml, fit.npz, log.txt and
    invert.py, the script that was run.

    For example:

    skphonon invert aluminium --method compare

    skphonon invert silicon.nxspe --structure phonopy_params_Si.yaml
    --temperature 300 --output silicon
    """
    from skphonon.cli.inverting import invert_file
    from skphonon.cli.request import Request

    asked = Request(
        measured=measured,
        structure=structure,
        method=method.value,
        temperature=temperature,
        incident_energy=ei,
        resolution=resolution,
        n_shells=shells,
        row=row,
        force_field=force_field,
        network=network,
        n_spectra=spectra,
    )
    typer.echo(invert_file(asked, output, _tell))


@app.command()
def simulate(
    output: Annotated[
        Path, typer.Option(help="A file (.h5) of one spectrum, or a folder of many.")
    ],
    structure: _Structure = None,
    like: Annotated[
        Path | None,
        typer.Option(help="A measured file, whose pixels and settings are taken."),
    ] = None,
    number: Annotated[
        int,
        typer.Option(help="1: the constants as they are. More: a set to train on."),
    ] = 1,
    temperature: _Temperature = None,
    temperatures: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Range of a set, for one network of all temperatures."),
    ] = None,
    ei: _Energy = None,
    resolution: _Resolution = None,
    shells: _Shells = None,
    row: _Row = 0,
    force_field: _ForceField = "auto",
    picture: Annotated[
        Path | None, typer.Option(help="Write a picture of one spectrum.")
    ] = None,
) -> None:
    """Simulate a powder spectrum, or a set of spectra to train a network on.

    A set differs from spectrum to spectrum in constants, resolution, lattice,
    displacements, noise and ripples. Interrupted, the same command goes on with it.

    For example:

    skphonon simulate --structure phonopy_params.yaml --ei 80 --temperature 300
    --resolution 2 --output planned.h5 --picture planned.png

    skphonon simulate --structure phonopy_params.yaml --like measured.nxspe
    --number 10000 --output spectra
    """
    from skphonon.cli.request import Request
    from skphonon.cli.training import simulate_spectra

    asked = Request(
        measured=like,
        structure=structure,
        method="network",
        temperature=temperature,
        incident_energy=ei,
        resolution=resolution,
        n_shells=shells,
        row=row,
        force_field=force_field,
        n_spectra=number,
    )
    typer.echo(simulate_spectra(asked, output, number, temperatures, picture, _tell))


@app.command()
def train(
    spectra: Annotated[
        Path, typer.Argument(help="Folder of simulated spectra (skphonon simulate).")
    ],
    output: Annotated[Path, typer.Option(help="File of the network (.skops).")] = Path(
        "network.skops"
    ),
    epochs: Annotated[int, typer.Option(help="Passes through the spectra.")] = 40,
    components: Annotated[int, typer.Option(help="Dimensions of the code.")] = 50,
) -> None:
    """Train a network on simulated spectra.

    Tells R2 of each constant for a tenth of the spectra, on which it is not trained.

    Example: skphonon train spectra --output network.skops
    """
    from skphonon.cli.training import train_network

    typer.echo(train_network(spectra, output, epochs, components, _tell))


@app.command()
def fine_tune(
    network: Annotated[Path, typer.Argument(help="A trained network (.skops).")],
    measured: Annotated[Path, typer.Argument(help="Measured spectra of a file.")],
    spectra: Annotated[
        Path, typer.Option(help="Folder of spectra that it was trained on.")
    ],
    output: Annotated[Path, typer.Option(help="File of the new network.")] = Path(
        "tuned.skops"
    ),
    temperature: _Temperature = None,
    ei: _Energy = None,
    resolution: _Resolution = None,
) -> None:
    """Tune a network to measured spectra, which need no constants.

    Compare both networks on the measured spectrum: tuning does not always help.

    Example: skphonon fine-tune network.skops measured.nxspe --spectra spectra
    """
    from skphonon.cli.request import Request
    from skphonon.cli.training import fine_tune_network

    asked = Request(
        measured=measured,
        structure=None,
        method="network",
        temperature=temperature,
        incident_energy=ei,
        resolution=resolution,
        network=network,
    )
    typer.echo(fine_tune_network(network, asked, spectra, output, _tell))


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def _show(message: Any, category: Any, *_: Any, **__: Callable[..., Any]) -> None:
    """Show a warning as a sentence."""
    _tell(f"{category.__name__}: {message}")
