"""``pyramidflow serve``."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pyramidflow.cli.options import ReportEvery

_MOST_PICTURE_BYTES: Final = 2_000_000_000


LineArgument = Annotated[
    Path,
    typer.Argument(
        metavar="LINE.TOML|DETECTOR",
        help="A line's configuration; or a detector file, for pictures over HTTP alone.",
    ),
]
HostOption = Annotated[
    str | None, typer.Option(help="Address to listen at.", show_default="127.0.0.1")
]
PortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, help="0 takes a free one.", show_default="8720")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Token that changes need; made if missing.", show_default=False
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="TLS certificate (PEM) for https, with its chain.", show_default=False
    ),
]
CertificateKeyOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Its key (PEM).", show_default=False)
]


def serve(
    line: LineArgument = Path("line.toml"),
    host: HostOption = None,
    port: PortOption = None,
    token_file: TokenFileOption = None,
    certificate: CertificateOption = None,
    certificate_key: CertificateKeyOption = None,
    report_every: ReportEvery = 60,
) -> None:
    """Run a line with its page and its HTTP interface.

    It listens at this machine's own address, where everybody on it may read. What changes something
    needs a token, and so does everything at another address. The page comes first, and says which
    detectors are still made ready. Signals and codes are those of run.
    """
    from pyramidflow.cli.run import log_to_terminal, run_line
    from pyramidflow.errors import InputError
    from pyramidflow.line.line import Line
    from pyramidflow.line.service_settings import ServiceSettings

    log_to_terminal()
    made = Line(_alone(line) if line.suffix == ".safetensors" else line)
    settings = made.settings.service or ServiceSettings.model_validate({})
    given = {
        "host": host,
        "port": port,
        "token_file": token_file,
        "certificate": certificate,
        "certificate_key": certificate_key,
    }
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if token_file is not None:
        changed["token_env"] = None
    found = settings.model_copy(update=changed)
    if (found.certificate is None) != (found.certificate_key is None):
        raise InputError("one of --certificate and --certificate-key is given: give both.")
    run_line(made, report_every, found)


def _alone(detector: Path) -> dict[str, Any]:
    """A line whose only pictures come over HTTP; what it keeps lies beside the detector."""
    return {
        "store": detector.with_suffix(".sqlite"),
        "sinks": [
            {
                "kind": "pictures",
                "folder": detector.with_name(f"{detector.stem}-pictures"),
                "most_bytes": _MOST_PICTURE_BYTES,
            }
        ],
        "stations": [{"name": "line", "detector": detector, "source": {"kind": "python"}}],
    }
