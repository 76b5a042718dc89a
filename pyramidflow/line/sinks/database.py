"""Records in a database, SQLite or PostgreSQL: the history where others can ask it."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from pyramidflow.errors import InputError
from pyramidflow.line.extras import need
from pyramidflow.line.history.store import Store, check_url, short_reason
from pyramidflow.line.secrets import in_environment, in_file, secret
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway, SinkRefused, SinkSettings


class DatabaseSettings(SinkSettings):
    """Settings of :class:`DatabaseSink`.

    Attributes:
        url: of the database.
        url_env: variable of the environment that holds it.
        url_file: file that holds it.
    """

    url: str | None = Field(
        None,
        description="sqlite:///parts.sqlite or postgresql://user@host/database, without a "
        "password in it.",
    )
    url_env: str | None = in_environment("the URL, where that holds a password")
    url_file: Path | None = in_file("the URL, where that holds a password,")


class DatabaseSink(Sink):
    """Adds each record to the table ``parts``, once: station and identity are unique there.

    Tables that are missing are made, older ones brought to this version.
    """

    Settings = DatabaseSettings

    def __init__(self, settings: DatabaseSettings) -> None:
        super().__init__(settings)
        need("sqlalchemy", "line", "the sink database")
        need("alembic", "line", "the sink database")
        found = secret("the database's URL", settings, "url")
        if (found is None) == (settings.url is None):
            raise InputError(
                "url, url_env, url_file: exactly one of them is expected; say where the database "
                "is."
            )
        self._url = settings.url or found or ""
        check_url(self._url)
        self._store: Store | None = None

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Add the records, in one transaction.

        Raises:
            SinkAway: the database cannot be reached.
            SinkRefused: it cannot hold a record.
        """
        from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

        store = self._opened()
        try:
            store.add([entry.record for entry in entries])
        except (DataError, IntegrityError):
            self._add_each(store, entries)
        except SQLAlchemyError as error:
            self.close()
            raise SinkAway(f"{store.name}: {short_reason(error)}") from error

    def close(self) -> None:
        """Close the connections."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> Store:
        if self._store is None:
            try:
                self._store = Store.open(self._url, create=True)
            except InputError as error:
                raise SinkAway(str(error)) from error
        return self._store

    def _add_each(self, store: Store, entries: Sequence[Entry]) -> None:
        from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

        for done, entry in enumerate(entries):
            try:
                store.add([entry.record])
            except (DataError, IntegrityError) as error:
                raise SinkRefused(f"{store.name}: {short_reason(error)}", done) from error
            except SQLAlchemyError as error:
                self.close()
                raise SinkAway(f"{store.name}: {short_reason(error)}", done) from error
