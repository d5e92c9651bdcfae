"""Browser sessions: opened by signing in, ended by signing out and by what else ends them."""

from sqlite_utils import Database

from app.models import Session, SessionId, SignedIn, UserId, later, now
from app.queries.users import HOLDS, LARGEST, digest, set_password

IDLE_DAYS, MOST_DAYS = 30, 90
"""A session ends so long after its last use, and so long after its beginning at the latest."""

MOST_OF_USER = 50
"""How many sessions one user may have; the oldest ends when another is opened."""

DAY = 86_400

OPEN = f"""
    sessions.ended_at IS NULL AND sessions.expires_at > :now AND sessions.seen_at > :idle
    AND (sessions.token_id IS NULL OR ({HOLDS}))
"""
"""What a session is that holds, where its access token is joined. A session ends with the token it was opened with."""


def open_with_token(db: Database, token: str, secret: str, agent: str) -> SessionId | None:
    """Open a session with an access token; None when that does not hold."""
    sql = f"""
        INSERT INTO sessions (user_id, sha256, token_id, agent, created_at, seen_at, expires_at)
        SELECT tokens.user_id, :sha256, tokens.id, :agent, :now, :now, :expires_at FROM tokens
        WHERE tokens.sha256 = :token AND {HOLDS} RETURNING id, user_id
    """
    return _opened(db, sql, {"token": digest(token)}, secret, agent)


def open_with_password(db: Database, user_id: UserId, password: str, secret: str, agent: str) -> SessionId | None:
    """Open a session of whose password was right; None when `password`, its hash, has been changed since."""
    sql = """
        INSERT INTO sessions (user_id, sha256, agent, created_at, seen_at, expires_at)
        SELECT users.id, :sha256, :agent, :now, :now, :expires_at FROM users
        WHERE users.id = :user_id AND users.password = :password RETURNING id, user_id
    """
    return _opened(db, sql, {"user_id": user_id, "password": password}, secret, agent)


def user_of_session(db: Database, sha256: str) -> SignedIn | None:
    """Return who is signed in by a session that holds."""
    sql = f"""
        SELECT users.id, users.name, users.is_admin, sessions.id AS session_id, sessions.seen_at
        FROM sessions JOIN users ON users.id = sessions.user_id LEFT JOIN tokens ON tokens.id = sessions.token_id
        WHERE sessions.sha256 = :sha256 AND {OPEN}
    """
    for row in db.query(sql, {"sha256": sha256, **_times()}):
        return SignedIn(**row | {"is_admin": bool(row["is_admin"])})
    return None


def note_use(db: Database, session_id: SessionId) -> None:
    db.execute("UPDATE sessions SET seen_at = :now WHERE id = :id", {"id": session_id, "now": now()})


def list_sessions(db: Database, user_id: UserId | None, before: int | None, limit: int = 200) -> list[Session]:
    """Return the sessions of a user that hold, or everybody's, newest first, before an id."""
    sql = f"""
        SELECT sessions.id, sessions.user_id, users.name AS user_name, sessions.agent, tokens.label AS token,
            sessions.created_at, sessions.seen_at, sessions.expires_at
        FROM sessions JOIN users ON users.id = sessions.user_id LEFT JOIN tokens ON tokens.id = sessions.token_id
        WHERE {"sessions.user_id = :user_id AND" if user_id is not None else ""} {OPEN}
            AND sessions.id < :before ORDER BY sessions.id DESC LIMIT :limit
    """
    whose = {} if user_id is None else {"user_id": user_id}
    given = {**whose, **_times(), "before": before or LARGEST, "limit": limit}
    return [Session(**row) for row in db.query(sql, given)]


def end_session(db: Database, session_id: SessionId, user_id: UserId | None = None) -> bool:
    """End a session, of this user or of anybody; False when there is none that holds."""
    sql = f"""
        UPDATE sessions SET ended_at = :now WHERE id = :id AND ended_at IS NULL
        {"AND user_id = :user_id" if user_id is not None else ""} RETURNING id
    """
    whose = {} if user_id is None else {"user_id": user_id}
    return bool(list(db.query(sql, {"id": session_id, "now": now(), **whose})))


def end_by_secret(db: Database, secret: str) -> None:
    sql = "UPDATE sessions SET ended_at = :now WHERE sha256 = :sha256 AND ended_at IS NULL"
    db.execute(sql, {"sha256": digest(secret), "now": now()})


def end_sessions(db: Database, user_id: UserId, but: SessionId | None = None) -> None:
    """End all sessions of a user, but for one."""
    sql = "UPDATE sessions SET ended_at = :now WHERE user_id = :user_id AND ended_at IS NULL AND id <> :but"
    db.execute(sql, {"user_id": user_id, "now": now(), "but": but or 0})


def change_password(db: Database, user_id: UserId, password: str | None, but: SessionId | None = None) -> None:
    """Keep another password of a user, by its hash; their sessions end, but for the one it is changed in."""
    set_password(db, user_id, password)
    end_sessions(db, user_id, but)


def forget_ended(db: Database) -> None:
    """Delete what is left of sessions that have ended; those that hold stay."""
    db.execute("DELETE FROM sessions WHERE ended_at IS NOT NULL OR expires_at <= :now OR seen_at <= :idle", _times())


def _opened(db: Database, sql: str, whose: dict[str, object], secret: str, agent: str) -> SessionId | None:
    more = {"sha256": digest(secret), "agent": agent, "now": now(), "expires_at": later(MOST_DAYS * DAY)}
    for row in list(db.query(sql, whose | more)):
        _end_oldest(db, row["user_id"])
        return SessionId(row["id"])
    return None


def _end_oldest(db: Database, user_id: int) -> None:
    sql = """
        UPDATE sessions SET ended_at = :now WHERE user_id = :user_id AND ended_at IS NULL AND id <= (
            SELECT id FROM sessions WHERE user_id = :user_id AND ended_at IS NULL
            ORDER BY id DESC LIMIT 1 OFFSET :most
        )
    """
    db.execute(sql, {"user_id": user_id, "now": now(), "most": MOST_OF_USER})


def _times() -> dict[str, str]:
    return {"now": now(), "idle": later(-IDLE_DAYS * DAY)}
