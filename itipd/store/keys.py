"""The secret of a database and the number of the key that signs reply tokens now (the table `settings`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select, update

from itipd.store.schema import settings

if TYPE_CHECKING:
    from itipd.store.store import Store

SECRET, REPLY_KEY = "secret", "reply_key"


def read(connection: Connection) -> tuple[bytes, int]:
    """The secret, and the number of the reply key: 0 until there was a new one."""
    found = {name: bytes(value) for name, value in connection.execute(select(settings))}
    return found[SECRET], int.from_bytes(found.get(REPLY_KEY, b""), "big")


async def new_reply_key(store: Store) -> int:
    """Reply tokens are signed with a new key from now on, by a running daemon from its next start on; its number."""

    def work(connection: Connection) -> int:
        _, number = read(connection)
        _write(connection, REPLY_KEY, (number + 1).to_bytes(4, "big"))
        return number + 1

    async with store.database.writing() as transaction:
        store.reply_key = await transaction.commit(work)
    return store.reply_key


async def inherit(store: Store, source: Store) -> None:
    """Takes over the secret and the key of `source`, so that the tokens that it has sent are true here, too."""

    def work(connection: Connection) -> None:
        _write(connection, SECRET, source.secret)
        _write(connection, REPLY_KEY, source.reply_key.to_bytes(4, "big"))

    async with store.database.writing() as transaction:
        await transaction.commit(work)
    store.secret, store.reply_key = source.secret, source.reply_key


def _write(connection: Connection, name: str, value: bytes) -> None:
    if not connection.execute(update(settings).where(settings.c.name == name).values(value=value)).rowcount:
        connection.execute(insert(settings), {"name": name, "value": value})
