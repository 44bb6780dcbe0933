import threading

import psycopg
import pytest

from dev import postgres
from migrations import migrate
from migrations.migrate import Migration, MigrationError

FIRST = Migration("0001_create_one.sql", "create table one (id int)")
SECOND = Migration("0002_create_two.sql", "create table two (id int)")


@pytest.fixture
def empty(server):
    """An empty database, as its owner."""
    name = "empty"
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(f"create database {name} owner {postgres.OWNER}")
        yield server.url(postgres.OWNER, name)
        connection.execute(f"drop database {name} with (force)")


def tables(url):
    with psycopg.connect(url) as connection:
        query = "select tablename from pg_tables where schemaname = 'public' order by 1"
        return [name for (name,) in connection.execute(query)]


def test_each_migration_is_applied_once_and_in_order(empty):
    assert migrate.apply(empty, [FIRST, SECOND]) == ["0001_create_one.sql", "0002_create_two.sql"]
    assert migrate.apply(empty, [FIRST, SECOND]) == []
    assert tables(empty) == ["one", "schema_migrations", "two"]


def test_a_file_edited_after_it_was_applied_is_refused(empty):
    migrate.apply(empty, [FIRST])
    edited = Migration(FIRST.name, FIRST.sql + " -- better")
    with pytest.raises(MigrationError, match=r"0001_create_one\.sql: edited"):
        migrate.apply(empty, [edited, SECOND])
    assert tables(empty) == ["one", "schema_migrations"]


def test_a_file_that_comes_before_one_applied_is_refused(empty):
    migrate.apply(empty, [FIRST])
    earlier = Migration("0000_create_zero.sql", "create table zero (id int)")
    with pytest.raises(MigrationError, match=r"0000_create_zero\.sql: comes before"):
        migrate.apply(empty, [earlier, FIRST])


def test_a_database_that_is_ahead_of_the_files_is_refused(empty):
    migrate.apply(empty, [FIRST, SECOND])
    with pytest.raises(MigrationError, match=r"0002_create_two\.sql: applied"):
        migrate.apply(empty, [FIRST])


def test_a_migration_that_fails_leaves_nothing_of_itself(empty):
    broken = Migration("0002_break.sql", "create table two (id int); select 1/0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate.apply(empty, [FIRST, broken])
    assert tables(empty) == ["one", "schema_migrations"]
    assert migrate.apply(empty, [FIRST, SECOND]) == ["0002_create_two.sql"]


def test_two_deployments_at_once_apply_each_migration_once(empty):
    applied, failed = [], []

    def deploy():
        try:
            applied.extend(migrate.apply(empty, [FIRST, SECOND]))
        except psycopg.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=deploy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(applied) == ["0001_create_one.sql", "0002_create_two.sql"]


def test_names_out_of_line_are_refused(tmp_path):
    (tmp_path / "0001_create_one.sql").write_text("select 1")
    (tmp_path / "0003_create_three.sql").write_text("select 1")
    with pytest.raises(MigrationError, match=r"0003_create_three\.sql: expected a file named 0002"):
        migrate.load(tmp_path)


def test_the_migrations_of_this_project_work_on_an_older_postgres_too(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pg16")
    older = postgres.start(folder / "data", version=16)
    try:
        migrate.apply(older.url(postgres.OWNER))
        assert "messages" in tables(older.url(postgres.OWNER))
    finally:
        older.stop()
