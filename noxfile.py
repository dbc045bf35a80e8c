"""Tasks that need an environment of their own: ``nox -s lint`` and the like."""

import nox

nox.options.sessions = ["lint", "tests", "docs"]

CONSTRAINTS = ("-c", "constraints.txt")


@nox.session
def lint(session):
    """Check style and format with ruff, and types with mypy."""
    session.install(*CONSTRAINTS, "-e", ".[lint]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session):
    """Run the tests and doctests; arguments after ``--`` go to pytest."""
    session.install(*CONSTRAINTS, "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def oldest(session):
    """Run the tests with the oldest versions that pyproject.toml allows."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    bounds = [*project["dependencies"], *extras["test"]]
    bounds += [
        bound
        for name in ("arviz", "ase", "dask", "pyro", "resins", "scipp")
        for bound in extras[name]
    ]
    floors = [b.replace(">=", "==") for b in bounds if not b.startswith("skphonon[")]
    # matplotlib of that time calls what newer ones of pyparsing warn of
    session.install(*floors, "pyparsing<3.3", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def docs(session):
    """Build the documentation, running every example; warnings are errors."""
    session.install(*CONSTRAINTS, "-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "docs/_build/html")
