"""Who the line is at the other side of a sink."""

from pathlib import Path

from pydantic import Field

from pyramidflow.line.secrets import in_environment, in_file
from pyramidflow.line.sinks.sink import SinkSettings


class SignInSettings(SinkSettings):
    """Settings of sinks that sign in with a name and a password.

    Attributes:
        username: at the other side.
        password_env: variable of the environment that holds the password.
        password_file: file that holds the password.
    """

    username: str | None = Field(None, description="Who the line is at the other side.")
    password_env: str | None = in_environment("the password")
    password_file: Path | None = in_file("the password")
