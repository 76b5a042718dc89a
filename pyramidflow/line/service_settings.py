"""The table ``[service]`` of a line's configuration: what its page and its interface may do."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pyramidflow.line.secrets import in_environment


class ServiceSettings(BaseModel):
    """The page and the HTTP interface of a running line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        max_length=255,
        description="Address to listen at; any other than this machine's own needs a token.",
    )
    port: int = Field(8720, ge=0, le=65535, description="Port to listen at; 0 takes a free one.")
    names: tuple[str, ...] = Field(
        (),
        description="Further names that this machine is called by in a browser; addresses, "
        "localhost and host are known.",
    )
    origin: str | None = Field(
        None,
        description="Where browsers find the page behind a proxy, as https://line.example; then "
        "reading needs the token, too.",
    )
    token_env: str | None = in_environment("the token that changes need")
    token_file: Path | None = Field(
        None, description="File with the token; made where it is missing, for its owner alone."
    )
    certificate: Path | None = Field(
        None, description="TLS certificate (PEM), with its chain; then the page is https."
    )
    certificate_key: Path | None = Field(None, description="Key of the certificate (PEM).")
    most_upload_bytes: int = Field(
        50_000_000, ge=1000, le=2_000_000_000, description="Largest picture that is taken."
    )
    requests_per_minute: int = Field(
        600, ge=10, description="From one address, POST /inspect apart; beyond it 429."
    )
    inspections_per_minute: int = Field(
        60_000, ge=1, description="Pictures from one address; beyond it 429."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "ServiceSettings":
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("has one of certificate and certificate_key: give both or neither")
        if self.origin is not None and not _is_origin(self.origin):
            raise ValueError("has an origin that is none: give scheme and host, no path")
        if self.token_env is not None and self.token_file is not None:
            raise ValueError("has token_env and token_file: give one of them")
        return self


def _is_origin(text: str) -> bool:
    """Whether a text is what browsers send as ``Origin``."""
    try:
        parts = urlsplit(text)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return False
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    is_known = parts.scheme in ("http", "https") and host != ""
    return is_known and text == f"{parts.scheme}://{named}{port}"
