"""Who the line is at the other side of a sink."""

from pathlib import Path

from pydantic import Field

from pyramidflow.line.sinks.sink import SinkSettings


class SignInSettings(SinkSettings):
    """Settings of sinks that sign in with a name and a password.

    Attributes:
        username: at the other side.
        password_env: variable of the environment that holds the password.
        password_file: file that holds the password.
    """

    username: str | None = Field(None, description="Who the line is at the other side.")
    password_env: str | None = Field(
        None, description="Environment variable that holds the password."
    )
    password_file: Path | None = Field(
        None, description="File that holds the password on its first line."
    )
