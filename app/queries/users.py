"""Users and their access tokens."""

import hashlib
import re
import secrets

from sqlite_utils import Database

from app.models import Person, Token, TokenId, User, UserId, now

ENVIRONMENT_LABEL = "LONGHAND_ADMIN_TOKEN"
WRITE_LABEL = "longhand write"
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""What a user may be called."""

OUR_LABELS = frozenset({ENVIRONMENT_LABEL, WRITE_LABEL})
"""The labels by which tokens are found that end by themselves."""

TOKENS = """
    SELECT tokens.id, users.name AS user_name, tokens.label, tokens.created_at, tokens.expires_at, tokens.revoked_at
    FROM tokens JOIN users ON users.id = tokens.user_id
"""

LARGEST = 2**63 - 1

HOLDS = "tokens.revoked_at IS NULL AND (tokens.expires_at IS NULL OR tokens.expires_at > :now)"


def new_token() -> str:
    """Make an access token: 256 random bits."""
    return "lh_" + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Return the sha256 of a token, in hex: the only form in which it is stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def user_of_token(db: Database, sha256: str) -> User | None:
    """Return whom a token belongs to that was not revoked and has not expired."""
    sql = f"""
        SELECT users.id, users.name, users.is_admin FROM tokens JOIN users ON users.id = tokens.user_id
        WHERE tokens.sha256 = :sha256 AND {HOLDS}
    """
    return next((_user(row) for row in db.query(sql, {"sha256": sha256, "now": now()})), None)


def user_named(db: Database, name: str) -> User | None:
    rows = db.query("SELECT id, name, is_admin FROM users WHERE name = :name", {"name": name})
    return next((_user(row) for row in rows), None)


def password_of(db: Database, name: str) -> tuple[UserId, str | None] | None:
    """Return a user's id and the hash of their password; None when there is no such user."""
    rows = db.query("SELECT id, password FROM users WHERE name = :name", {"name": name})
    return next(((UserId(row["id"]), row["password"]) for row in rows), None)


def has_password(db: Database, user_id: UserId) -> bool:
    return bool(list(db.query("SELECT 1 FROM users WHERE id = :id AND password IS NOT NULL", {"id": user_id})))


def set_password(db: Database, user_id: UserId, password: str | None) -> None:
    """Keep the hash of a user's password; None: they have none, and sign in with an access token."""
    db.execute("UPDATE users SET password = :password WHERE id = :id", {"id": user_id, "password": password})


def list_users(db: Database, before: int | None, limit: int) -> list[Person]:
    """Return up to `limit` users, newest first, before an id."""
    sql = f"""
        SELECT id, name, is_admin, password IS NOT NULL AS has_password, created_at,
            (SELECT COUNT(*) FROM tokens WHERE tokens.user_id = users.id AND {HOLDS}) AS tokens
        FROM users WHERE id < :before ORDER BY id DESC LIMIT :limit
    """
    rows = db.query(sql, {"before": before or LARGEST, "limit": limit, "now": now()})
    return [
        Person(**row | {"is_admin": bool(row["is_admin"]), "has_password": bool(row["has_password"])}) for row in rows
    ]


def renew_hash(db: Database, user_id: UserId, old: str, fresh: str) -> None:
    """Replace the hash of the same password, unless another one was set meanwhile."""
    sql = "UPDATE users SET password = :fresh WHERE id = :id AND password = :old"
    db.execute(sql, {"id": user_id, "fresh": fresh, "old": old})


def add_user(db: Database, name: str, *, is_admin: bool) -> User | None:
    """Add a user; None when the name is taken."""
    sql = """
        INSERT INTO users (name, is_admin, created_at) VALUES (:name, :is_admin, :now)
        ON CONFLICT (name) DO NOTHING RETURNING id, name, is_admin
    """
    rows = db.query(sql, {"name": name, "is_admin": int(is_admin), "now": now()})
    return next((_user(row) for row in rows), None)


def add_with_token(db: Database, name: str, token: str, *, is_admin: bool) -> User | None:
    """Add a user with a first access token; None when the name is taken."""
    added = add_user(db, name, is_admin=is_admin)
    if added:
        add_token(db, added.id, token, "first token")
    return added


def add_token(db: Database, user_id: UserId, token: str, label: str, expires_at: str | None = None) -> TokenId:
    """Add an access token to a user; its sha256 alone is kept. None: it holds until it is revoked."""
    sql = """
        INSERT INTO tokens (user_id, sha256, label, created_at, expires_at)
        VALUES (:user_id, :sha256, :label, :now, :expires_at)
        RETURNING id
    """
    parameters = {
        "user_id": user_id, "sha256": digest(token), "label": label, "now": now(), "expires_at": expires_at,
    }  # fmt: skip
    return TokenId(next(iter(db.query(sql, parameters)))["id"])


def tokens(db: Database) -> list[Token]:
    """Return all access tokens, oldest first."""
    return [Token(**row) for row in db.query(f"{TOKENS} ORDER BY tokens.id")]


def newest_tokens(db: Database, before: int | None, limit: int) -> list[Token]:
    """Return up to `limit` access tokens that hold, newest first, before an id."""
    sql = f"{TOKENS} WHERE tokens.id < :before AND {HOLDS} ORDER BY tokens.id DESC LIMIT :limit"
    return [Token(**row) for row in db.query(sql, {"before": before or LARGEST, "limit": limit, "now": now()})]


def tokens_of(db: Database, user_id: UserId, limit: int = 200) -> list[Token]:
    """Return the access tokens of a user that hold, newest first."""
    sql = f"{TOKENS} WHERE tokens.user_id = :user_id AND {HOLDS} ORDER BY tokens.id DESC LIMIT :limit"
    return [Token(**row) for row in db.query(sql, {"user_id": user_id, "limit": limit, "now": now()})]


def token(db: Database, token_id: TokenId, user_id: UserId | None = None) -> Token | None:
    """Return an access token that holds, of this user or of anybody."""
    whose, given = _whose(user_id)
    rows = db.query(f"{TOKENS} WHERE tokens.id = :id AND {HOLDS} {whose}", {"id": token_id, "now": now(), **given})
    return next((Token(**row) for row in rows), None)


def revoke_token(db: Database, token_id: TokenId, user_id: UserId | None = None) -> bool:
    """Revoke a token, of this user or of anybody; False when there is none of this id that still holds."""
    whose, given = _whose(user_id)
    sql = f"UPDATE tokens SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL {whose} RETURNING id"
    return bool(list(db.query(sql, {"id": token_id, "now": now(), **given})))


def _whose(user_id: UserId | None) -> tuple[str, dict[str, UserId]]:
    return ("", {}) if user_id is None else ("AND tokens.user_id = :user_id", {"user_id": user_id})


def first_token(db: Database) -> str | None:
    """Where no access token holds, give the user `admin` one (creating them where missing) and return it."""
    if list(db.query(f"SELECT 1 AS one FROM tokens WHERE {HOLDS} LIMIT 1", {"now": now()})):
        return None
    return admin_token(db, "first start")


def admin_token(db: Database, label: str) -> str:
    """Give the user `admin`, created where missing, a further access token and return it."""
    token = new_token()
    add_token(db, _admin(db).id, token, label)
    return token


def end_writing(db: Database) -> None:
    """Revoke what `longhand write` gave itself: it is over, or was killed, whenever a process holds the directory."""
    sql = "UPDATE tokens SET revoked_at = :now WHERE label = :label AND revoked_at IS NULL"
    db.execute(sql, {"label": WRITE_LABEL, "now": now()})


def set_admin_token(db: Database, token: str) -> None:
    """Make `token` the environment's token of the user `admin`, who is created where missing; an older one ends."""
    admin = _admin(db)
    current = {"user_id": admin.id, "label": ENVIRONMENT_LABEL, "sha256": digest(token), "now": now()}
    db.execute(
        """
        UPDATE tokens SET revoked_at = :now
        WHERE user_id = :user_id AND label = :label AND sha256 <> :sha256 AND revoked_at IS NULL
        """,
        current,
    )
    db.execute(
        """
        INSERT INTO tokens (user_id, sha256, label, created_at) VALUES (:user_id, :sha256, :label, :now)
        ON CONFLICT (sha256) DO UPDATE SET user_id = :user_id, label = :label, revoked_at = NULL,
            expires_at = NULL
        """,
        current,
    )


def _admin(db: Database) -> User:
    add_user(db, "admin", is_admin=True)
    db.execute("UPDATE users SET is_admin = 1 WHERE name = 'admin'")
    admin = user_named(db, "admin")
    assert admin is not None
    return admin


def _user(row: dict[str, object]) -> User:
    return User(UserId(int(str(row["id"]))), str(row["name"]), bool(row["is_admin"]))
