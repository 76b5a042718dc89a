import random
import threading
from time import sleep

import pytest
from sqlalchemy import create_engine, text

from pyramidflow.errors import InputError
from pyramidflow.line.history.schema import metadata
from pyramidflow.line.history.store import Store
from pyramidflow.line.outbox.outbox import Outbox, Outgoing
from pyramidflow.line.sinks.database import DatabaseSink
from pyramidflow.line.sinks.sink import SinkAway, SinkRefused
from tests.line.records import entries, eventually, records
from tests.line.services import Postgres, postgres_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/parts.sqlite"
        return
    with postgres_url() as found:
        yield found


def rows(url, query):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


def database(url):
    return DatabaseSink(DatabaseSink.Settings(url=url))


def test_each_record_stands_in_the_database_once(url):
    sink = database(url)
    sink.deliver(entries(3))
    sink.deliver(entries(5))
    sink.close()

    assert rows(url, "SELECT identity, verdict, score FROM parts ORDER BY id") == [
        (f"{number:05}.png", "ok", 1.5) for number in range(5)
    ]
    store = Store.open(url)
    assert [part.record for part in store.parts()] == [entry.record for entry in entries(5)]
    store.close()


def test_times_are_moments_and_texts_that_a_database_refuses_are_written_out(url):
    sink = database(url)
    sink.deliver(entries(1, identity="a\0b", error="half a pair \ud800, a byte \udc80", path="x\0"))
    sink.close()
    [(identity, error)] = rows(url, "SELECT identity, error FROM parts")
    assert (identity, error) == ("a\\x00b", "half a pair \\ud800, a byte \\x80")
    if url.startswith("postgresql"):
        [(seconds,)] = rows(url, "SELECT extract(epoch FROM time) FROM parts")
        assert float(seconds) == 1772344800.25


def test_migrations_make_the_tables_of_the_schema(url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    Store.open(url, create=True).close()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "history_version", "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_two_that_start_at_once_make_the_tables_once(url):
    problems = []

    def start():
        try:
            Store.open(url, create=True).close()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert rows(url, "SELECT count(*) FROM history_version") == [(1,)]


def test_a_history_of_a_newer_version_is_refused(url):
    Store.open(url, create=True).close()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE history_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(InputError, match="a history of version 9999 where this program knows"):
        Store.open(url)
    with pytest.raises(SinkAway, match="update the program"):
        database(url).deliver(entries(1))


def test_a_record_that_the_database_cannot_hold_is_refused_alone():
    with postgres_url() as url:
        sink = database(url)
        sink.deliver(entries(1))
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE parts ADD CHECK (identity <> '00002.png')"))
        engine.dispose()
        with pytest.raises(SinkRefused, match="check constraint") as refused:
            sink.deliver(entries(4))
        assert refused.value.done == 2
        assert rows(url, "SELECT count(*) FROM parts") == [(2,)]
        sink.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "url, url_env, url_file: exactly one of them is expected"),
        ({"url": "mysql://host/db"}, "the database is mysql: a history lies in sqlite or"),
        ({"url": "no url, secret=hunter2"}, "the database's URL cannot be read"),
        (
            {"url_env": "NOT_SET_ANYWHERE"},
            "^url_env is NOT_SET_ANYWHERE, but nothing is there: the database.s URL is expected",
        ),
    ],
)
def test_settings_that_name_no_database_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        DatabaseSink(DatabaseSink.Settings(**settings))
    assert "hunter2" not in str(refused.value)


def test_a_password_is_in_no_sentence(monkeypatch):
    monkeypatch.setenv("HISTORY", "postgresql://line:hunter2@127.0.0.1:1/none")
    sink = DatabaseSink(DatabaseSink.Settings(url_env="HISTORY"))
    with pytest.raises(SinkAway, match="cannot be opened") as away:
        sink.deliver(entries(1))
    assert "hunter2" not in str(away.value)


def test_a_database_that_stops_and_starts_has_every_part_once(tmp_path, monkeypatch):
    monkeypatch.setattr(DatabaseSink, "longest_delay", 0.2)
    random.seed(3)
    server = Postgres()
    server.start()
    try:
        outbox = Outbox(tmp_path / "line.sqlite", {"database": database(server.url)})
        outbox.start()
        done = threading.Event()

        def produce():
            for item in records(1500):
                outbox.put([Outgoing(item)])
                sleep(0.001)
            done.set()

        producer = threading.Thread(target=produce)
        producer.start()
        stops = 0
        while not done.is_set() or stops < 2:
            sleep(random.uniform(0.2, 0.8))
            server.stop()
            stops += 1
            sleep(random.uniform(0.1, 0.5))
            server.start()
        producer.join()
        assert eventually(lambda: outbox.status()["sinks"]["database"]["waiting"] == 0, 60)
        outbox.close()
        found = rows(server.url, "SELECT identity FROM parts ORDER BY id")
        assert found == [(item.identity,) for item in records(1500)]
    finally:
        server.stop()
        server.remove()
