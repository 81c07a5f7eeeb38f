"""The tables of the SQLite ledger, one numbered migration a step; each column says its unit.

Amounts are integer nano-USD, points in time nanoseconds since the Unix epoch, JSON is text. A migration
that has been released is never edited: what changes is the next number, and ``SCHEMA_VERSION`` with it.

An admission costs what it writes, page by page (about 6 µs each), so an index is here only where a
decision or a settlement needs it; reports may scan. Checks of what every call writes list their values
with OR: for each IN of three or more SQLite makes a temporary table at every row.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

migrations = Migrations("tollkeeper")

_FIRST = (
    # Identities. `limits` is what `agent create` was given: one more layer under stricter-wins.
    """
    CREATE TABLE agents (
        name TEXT PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ('active', 'paused', 'deleted')),
        parent TEXT REFERENCES agents(name),
        limits TEXT NOT NULL,            -- JSON, see records.py
        created_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        agent TEXT NOT NULL REFERENCES agents(name),
        state TEXT NOT NULL CHECK (state IN ('active', 'paused', 'stopped')),
        limits TEXT NOT NULL,            -- JSON, see records.py
        about TEXT NOT NULL,             -- JSON object of text: goal, project, priority …
        created_ns INTEGER NOT NULL,
        ended_ns INTEGER                 -- NULL while it goes on
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,             -- names the token in the record; proves nothing
        sha256 TEXT NOT NULL UNIQUE,     -- hex; the token itself is nowhere
        agent TEXT NOT NULL REFERENCES agents(name),
        run TEXT REFERENCES runs(id),    -- the run it is bound to, or NULL
        created_ns INTEGER NOT NULL,
        expires_ns INTEGER,              -- NULL for never
        revoked_ns INTEGER,              -- NULL while it holds
        minted_by TEXT REFERENCES tokens(id)  -- the token that minted it; NULL for the operator's
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX tokens_of_agent ON tokens(agent)",
    "CREATE INDEX minted_tokens ON tokens(minted_by) WHERE minted_by IS NOT NULL",
    "CREATE INDEX agents_of_parent ON agents(parent) WHERE parent IS NOT NULL",
    # One row a call, as it stands now; ids sort by time. How it came to that is in `audit`.
    """
    CREATE TABLE calls (
        id TEXT PRIMARY KEY,
        at_ns INTEGER NOT NULL,          -- when it was asked for
        booked_ns INTEGER NOT NULL,      -- when it was last admitted: its windows and its rates
        agent TEXT NOT NULL,
        team TEXT,
        run TEXT NOT NULL,
        provider TEXT,
        model TEXT,
        operation TEXT,
        stream INTEGER NOT NULL,         -- 1 when the answer was asked for as a stream
        state TEXT NOT NULL CHECK (
            state = 'held' OR state = 'forwarded' OR state = 'settled' OR state = 'refused'
            OR state = 'left'),
        effect TEXT NOT NULL,            -- allow, hold or deny, of the last admission
        codes TEXT NOT NULL,             -- JSON array of the reasons' codes, strictest first
        subjects INTEGER NOT NULL,       -- on how many subjects it counts
        reservation INTEGER,             -- the first of as many consecutive pending transfers
        worst_nano_usd INTEGER NOT NULL, -- what was reserved on each of them
        expected_nano_usd INTEGER,       -- predicted from history; NULL when unknown
        bound_input_tokens INTEGER NOT NULL,
        bound_output_tokens INTEGER NOT NULL,
        cost_nano_usd INTEGER,           -- what was booked; NULL while open and when unknown
        basis TEXT,                      -- measured, estimated, reserved; NULL until settled
        outcome TEXT,                    -- complete, provider_error, cut, not_sent, recovered
        status INTEGER,                  -- the provider's HTTP status
        input_tokens INTEGER,            -- usage, inclusive; NULL when unknown
        output_tokens INTEGER,
        cache_read_input_tokens INTEGER,
        cache_write_input_tokens INTEGER,
        reasoning_output_tokens INTEGER,
        settled_ns INTEGER,              -- when it was settled, refused or left
        price_source TEXT,               -- where its price is from; NULL without a price
        approval TEXT,                   -- the approval it waits on or was refused by
        consumed TEXT,                   -- the approval it used up
        model_key TEXT NOT NULL,         -- provider/model for history; empty for free calls
        prefix TEXT,                     -- digest of its whole conversation, for the input bound
        owner TEXT NOT NULL,             -- the process that answers for it (leases.owner)
        rated INTEGER NOT NULL,          -- how many rates it was charged to when it went out
        billing TEXT NOT NULL CHECK (
            billing = 'metered' OR billing = 'flat_counted' OR billing = 'flat'),
                                         -- who pays: money, or a plan; `flat` counts on no budget
        notional_nano_usd INTEGER        -- list price of what a plan pays, the worst case while it
                                         -- is open; NULL when metered and when unknown
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX open_calls ON calls(owner) WHERE state IN ('held', 'forwarded')",
    "CREATE INDEX held_calls ON calls(approval) WHERE state = 'held'",
    # One verdict, one forward.
    "CREATE UNIQUE INDEX used_once ON calls(consumed) WHERE consumed IS NOT NULL",
    # Money and quota. Rows are never edited. The balance of an account is the sum over its subject
    # and window: spent = post + overrun, reserved = pending - released, calls = sum of calls,
    # credit = credit + correction of its own window. A pending row is resolved once because a call is
    # settled once: its state is read and written under the same lock; `audit verify` proves it, and what else rows
    # of one table say of rows of another.
    """
    CREATE TABLE transfers (
        id INTEGER PRIMARY KEY,
        call TEXT,                       -- NULL for credits
        subject TEXT NOT NULL,           -- agent:…, team:… or run:…
        kind TEXT NOT NULL CHECK (
            kind = 'pending' OR kind = 'post' OR kind = 'void' OR kind = 'overrun'
            OR kind = 'credit' OR kind = 'correction'),
        amount_nano_usd INTEGER NOT NULL CHECK (amount_nano_usd >= 0 OR kind = 'correction'),
        released_nano_usd INTEGER NOT NULL DEFAULT 0 CHECK (released_nano_usd >= 0),
                                         -- the reservation that a post or void ends, whole
        calls INTEGER NOT NULL,          -- 1 for pending, -1 for void, else 0: the quota's count
        resolves INTEGER,                -- the pending row that a post or void ends
        booked_ns INTEGER NOT NULL,      -- time of the admission: which windows it counts in
        at_ns INTEGER NOT NULL,          -- when the row was written
        credit_window TEXT,              -- credits: the kind of window
        credit_starts_ns INTEGER,        -- credits: the start of that window, 0 for total and run
        CHECK ((resolves IS NOT NULL) = (kind IN ('post', 'void')))
    ) STRICT
    """,
    "CREATE INDEX credits ON transfers(subject) WHERE credit_window IS NOT NULL",
    # In the place of an index by time: whatever was booked in an hour has this id or a later one.
    """
    CREATE TABLE transfer_hours (
        hour INTEGER PRIMARY KEY,        -- hours since the epoch
        first INTEGER NOT NULL           -- the transfer that was the first booked in it
    ) STRICT
    """,
    # Sums of transfers, kept up to date in the transaction of each transfer. Every subject has its
    # row for `total` from its first transfer on; rows for other windows are made, from the transfers,
    # when a decision first asks for them.
    """
    CREATE TABLE balances (
        subject TEXT NOT NULL,
        ends_ns INTEGER NOT NULL,        -- end of the window; 2^63-1 for total and run
        window TEXT NOT NULL,            -- total, hour, day, week, month or run
        starts_ns INTEGER NOT NULL,      -- start of the window; 0 for total and run
        spent_nano_usd INTEGER NOT NULL,
        reserved_nano_usd INTEGER NOT NULL,
        calls INTEGER NOT NULL,          -- admitted and not voided
        credit_nano_usd INTEGER NOT NULL,
        last_ns INTEGER NOT NULL,        -- the latest booked_ns; 0 before the first reservation
        in_flight INTEGER NOT NULL,      -- calls forwarded and not settled; counted for total alone
        PRIMARY KEY (subject, ends_ns, window, starts_ns)
    ) STRICT, WITHOUT ROWID
    """,
    # The last two minutes of admissions, of the subjects that had a rate: single, and summed by second
    # so that a minute is 60 rows.
    """
    CREATE TABLE rate_events (
        subject TEXT NOT NULL,
        at_ns INTEGER NOT NULL,
        call TEXT NOT NULL,
        tokens INTEGER NOT NULL,         -- the bound at first, what was used once that is known
        PRIMARY KEY (subject, at_ns, call)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE rate_seconds (
        subject TEXT NOT NULL,
        second INTEGER NOT NULL,         -- seconds since the epoch
        admissions INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        PRIMARY KEY (subject, second)
    ) STRICT, WITHOUT ROWID
    """,
    # Holds. A verdict counts by its seal alone: `state` follows it for reports, and never leads.
    """
    CREATE TABLE approvals (
        id TEXT PRIMARY KEY,
        digest TEXT NOT NULL,            -- hex: the call that it is bound to
        agent TEXT NOT NULL,
        run TEXT NOT NULL,
        rule TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'approved', 'rejected', 'lapsed', 'used')),
        summary TEXT NOT NULL,           -- JSON object: the facts of the call
        body BLOB NOT NULL,              -- what the person is shown
        created_ns INTEGER NOT NULL,
        lapses_ns INTEGER NOT NULL       -- unanswered, not fetched, or (rejected) forgotten
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX approvals_by_digest ON approvals(agent, digest, created_ns)",
    "CREATE INDEX pending_approvals ON approvals(lapses_ns) WHERE state IN ('open', 'approved')",
    "CREATE INDEX open_holds ON approvals(agent) WHERE state = 'open'",
    """
    CREATE TABLE verdicts (
        approval TEXT PRIMARY KEY REFERENCES approvals(id),
        answer TEXT NOT NULL,            -- approved or rejected
        given_by TEXT NOT NULL,
        note TEXT NOT NULL,
        at_ns INTEGER NOT NULL,
        seal TEXT NOT NULL,              -- hex HMAC-SHA256 with the operator's key
        origin TEXT NOT NULL DEFAULT 'cli',  -- where it was given: cli or mitmweb
        forged INTEGER NOT NULL DEFAULT 0  -- 1 once a wrong seal has been recorded
    ) STRICT, WITHOUT ROWID
    """,
    # What is learnt from settled calls.
    """
    CREATE TABLE billed_prefixes (
        agent TEXT NOT NULL,
        model_key TEXT NOT NULL,         -- the same text is another count for another model
        digest TEXT NOT NULL,            -- of a whole conversation
        input_tokens INTEGER NOT NULL,   -- the most that was ever billed for it
        at_ns INTEGER NOT NULL,          -- when last seen
        PRIMARY KEY (agent, model_key, digest)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE history (
        agent TEXT NOT NULL,
        model_key TEXT NOT NULL,
        calls INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,  -- moving average, weight of the newest 1/8
        input_share_ppm INTEGER NOT NULL,  -- moving average of billed over bound input, millionths
        PRIMARY KEY (agent, model_key)
    ) STRICT, WITHOUT ROWID
    """,
    # What providers keep, and by whose calls it was made: with a shared key nobody else may name it.
    """
    CREATE TABLE objects (
        provider TEXT NOT NULL,
        id TEXT NOT NULL,                -- as the provider names it
        agent TEXT NOT NULL,
        at_ns INTEGER NOT NULL,          -- when last seen in an answer
        PRIMARY KEY (provider, id)
    ) STRICT, WITHOUT ROWID
    """,
    # Caches that providers keep: what they hold bounds the calls that name them, and more time for them.
    """
    CREATE TABLE caches (
        provider TEXT NOT NULL,
        id TEXT NOT NULL,                -- as the provider names it
        model TEXT NOT NULL,
        tokens INTEGER NOT NULL,
        until_ns INTEGER NOT NULL,       -- until when its keeping is booked
        PRIMARY KEY (provider, id)
    ) STRICT, WITHOUT ROWID
    """,
    # Background calls: their reservation stands until their answer was asked for.
    """
    CREATE TABLE awaited (
        call TEXT PRIMARY KEY REFERENCES calls(id),
        provider_name TEXT NOT NULL,
        response TEXT NOT NULL,          -- what to ask the provider for
        model TEXT NOT NULL,
        service_tier TEXT,               -- as asked for; NULL for none
        features TEXT NOT NULL,          -- of the call, by which its use is priced; by spaces
        deployment TEXT,                 -- that the client named; NULL where it named the model
        until_ns INTEGER NOT NULL        -- then it is booked whole
    ) STRICT, WITHOUT ROWID
    """,
    # Which processes live.
    """
    CREATE TABLE leases (
        owner TEXT PRIMARY KEY,
        pid INTEGER NOT NULL,
        started_ns INTEGER NOT NULL,
        renewed_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    # The record. hash = SHA-256 over the previous hash and this row (chain.py).
    """
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,         -- 1, 2, 3 … without a gap
        at_ns INTEGER NOT NULL,
        kind TEXT NOT NULL,
        actor TEXT NOT NULL,
        call TEXT,
        data TEXT NOT NULL,              -- canonical JSON; never tokens, keys or bodies
        previous TEXT NOT NULL,          -- hash of the row before, 64 zeros for the first
        hash TEXT NOT NULL
    ) STRICT
    """,
    # Lines of the spool that are in the record already.
    """
    CREATE TABLE spooled (
        id TEXT PRIMARY KEY,
        taken_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    *(
        f"""
        CREATE TRIGGER {table}_not_{verb} BEFORE {verb} ON {table}
        BEGIN SELECT RAISE(ABORT, 'rows of {table} are never edited'); END
        """
        for table in ("audit", "transfers")
        for verb in ("update", "delete")
    ),
)


@migrations(name="0001_first_tables")
def _first_tables(db: Database) -> None:
    for statement in _FIRST:
        db.conn.execute(statement)


def bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Apply what is missing and note ``version``; the caller holds the write lock.

    Inside the caller's ``BEGIN IMMEDIATE``, sqlite-utils' own transactions become savepoints, so of
    many processes that start at once one migrates and the others find it done.
    """
    migrations.apply(Database(connection))
    connection.execute(f"PRAGMA user_version = {version}")
