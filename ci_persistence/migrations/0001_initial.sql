-- The first schema. Times are ISO 8601 in UTC with microseconds, so that they sort as text.

-- 0x43494A42 ("CIJB"): tells this platform's databases from all others.
PRAGMA application_id = 1128876610;

CREATE TABLE installation (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    instance_id TEXT NOT NULL
) STRICT;

CREATE TABLE users (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL UNIQUE, -- without case; SQLite's own NOCASE knows ASCII alone
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE api_keys (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    digest BLOB NOT NULL,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    created_at TEXT NOT NULL,
    last_used_at TEXT,
    expires_at TEXT
) STRICT;

CREATE INDEX api_keys_by_prefix ON api_keys (prefix);
CREATE INDEX api_keys_by_user ON api_keys (user_id, number);

CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, -- in the order of submission, which is the order of the queue
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id),
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'completed')),
    options TEXT NOT NULL,
    bundle_bytes INTEGER NOT NULL,
    submit_time TEXT NOT NULL,
    start_time TEXT,
    end_time TEXT,
    attempt INTEGER NOT NULL,
    outcome TEXT,
    reason TEXT,
    exit_code INTEGER,
    cancel_reason TEXT,
    last_seq INTEGER NOT NULL,
    waiting TEXT,
    environment TEXT,
    run_stage TEXT,
    run_container_id TEXT,
    run_fence INTEGER,
    run_environment TEXT,
    run_offset_bytes INTEGER,
    run_pending BLOB,
    run_fed INTEGER,
    CHECK ((status = 'completed') = (outcome IS NOT NULL)),
    CHECK ((status = 'completed') = (end_time IS NOT NULL)),
    CHECK (run_container_id IS NULL OR status = 'running')
) STRICT;

CREATE INDEX jobs_by_user ON jobs (user_id, number);

-- What is unfinished is found without a look at the history. Queries must repeat the condition.
CREATE INDEX jobs_unfinished ON jobs (status, number) WHERE status <> 'completed';
CREATE INDEX jobs_unfinished_by_user ON jobs (user_id, status, number) WHERE status <> 'completed';

CREATE TABLE events (
    job_number INTEGER NOT NULL REFERENCES jobs (number),
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (job_number, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE environments (
    key TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    volume TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    last_used_at TEXT NOT NULL
) STRICT;

CREATE TABLE lease (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    fence INTEGER NOT NULL,
    pid INTEGER, -- null, as the two below, once the leader has left
    start_ticks INTEGER,
    boot_id TEXT,
    beat INTEGER NOT NULL,
    beat_time TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

-- Grows with each change that a controller must look at, its own writes not counted: the safety net
-- for announcements that were lost.
CREATE TABLE controller_inbox (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    changes INTEGER NOT NULL
) STRICT;

INSERT INTO controller_inbox (only, changes) VALUES (1, 0);
