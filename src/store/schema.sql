-- The newest schema. A fresh database is made from this file; an older one gets there through
-- migrations/*.sql, and a test holds that both ways end at the same place.

-- epoch: identity of this database, first half of every cursor. created_ms: when it was made. draining: there while the
-- host is drained.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Environments, once per distinct content. Jobs refer to them by number, so that a job costs a few
-- bytes here and not a whole hash.
CREATE TABLE environments (
    number  INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    content BLOB NOT NULL
) STRICT;

-- What changes while a job lives, and what lists filter by. Kept narrow: SQLite rewrites a whole
-- row on every update, and a list that finds no index for its filter reads all of these.
-- AUTOINCREMENT: a number is never used twice, not even after its row was removed.
CREATE TABLE jobs (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    uid              INTEGER NOT NULL,
    gid              INTEGER NOT NULL,
    user             TEXT NOT NULL,
    name             TEXT NOT NULL,
    kind             TEXT,
    grp              TEXT NOT NULL,
    flow             TEXT,
    state            TEXT NOT NULL,
    is_final         INTEGER NOT NULL,
    state_data       TEXT NOT NULL,
    priority         INTEGER NOT NULL,
    not_before_ms    INTEGER,
    unmet            INTEGER NOT NULL,
    tries            INTEGER NOT NULL,
    attempt          INTEGER,
    created_wall_ms  INTEGER NOT NULL,
    created_boot_ms  INTEGER NOT NULL,
    finished_wall_ms INTEGER,
    finished_boot_ms INTEGER,
    environment      INTEGER REFERENCES environments (number)
) STRICT;

-- The few rows that recovery reads, however long the history is.
CREATE INDEX jobs_live ON jobs (is_final) WHERE is_final = 0;
CREATE INDEX jobs_by_state ON jobs (state);
-- By user and state, also where a list names no state: it then reads each state's part in turn.
CREATE INDEX jobs_by_uid ON jobs (uid, state);
CREATE INDEX jobs_by_user ON jobs (user);
CREATE INDEX jobs_by_name ON jobs (uid, name);
CREATE INDEX jobs_by_group ON jobs (grp);
CREATE INDEX jobs_by_kind ON jobs (kind) WHERE kind IS NOT NULL;
CREATE INDEX jobs_by_flow ON jobs (flow) WHERE flow IS NOT NULL;
-- Flows are counted from this one alone.
CREATE INDEX jobs_by_flow_state ON jobs (flow, uid, state, finished_wall_ms) WHERE flow IS NOT NULL;
CREATE INDEX jobs_by_environment ON jobs (environment) WHERE environment IS NOT NULL;

-- What was asked for, as JSON: read with its job, written once, and up to megabytes long.
CREATE TABLE job_specs (
    job  INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    spec TEXT NOT NULL
) STRICT;

-- No reference from dependency to jobs: the job that was waited for may be removed before.
CREATE TABLE job_deps (
    job        INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    dependency INTEGER NOT NULL,
    PRIMARY KEY (job, dependency)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_deps_by_dependency ON job_deps (dependency);

CREATE TABLE job_labels (
    job   INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_labels_by_value ON job_labels (name, value, job);

CREATE TABLE attempts (
    job             INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt         INTEGER NOT NULL,
    boot_id         TEXT NOT NULL,
    claimed_wall_ms INTEGER NOT NULL,
    claimed_boot_ms INTEGER NOT NULL,
    started_wall_ms INTEGER,
    started_boot_ms INTEGER,
    ended_wall_ms   INTEGER,
    ended_boot_ms   INTEGER,
    pid             INTEGER,
    start_ticks     INTEGER,
    containment     TEXT,
    ending          TEXT,
    usage           TEXT,
    progress        TEXT, tally TEXT,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    name        TEXT PRIMARY KEY,
    parallelism INTEGER NOT NULL,
    paused      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Durable events. `job` is there so that the events of one job are found without reading all.
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms    INTEGER NOT NULL,
    channel  TEXT NOT NULL,
    kind     TEXT NOT NULL,
    uid      INTEGER,
    is_final INTEGER NOT NULL,
    job      INTEGER,
    body     TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_job ON events (job) WHERE job IS NOT NULL;

CREATE TABLE idempotency_keys (
    uid         INTEGER NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    ids         TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    PRIMARY KEY (uid, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at_ms);

-- Where archived jobs are found: everything that lists, flows and names are answered from, so that none
-- of these has to open a file of the archive. What a job was asked and did is in archive/YYYY-MM.db; a
-- row there that has none here counts for nothing. month: 12 * year + month - 1. logs: 0 as they were
-- written, 1 compressed, 2 gone.
CREATE TABLE archived (
    id               INTEGER PRIMARY KEY,
    month            INTEGER NOT NULL,
    uid              INTEGER NOT NULL,
    user             TEXT NOT NULL,
    name             TEXT NOT NULL,
    kind             TEXT,
    grp              TEXT NOT NULL,
    flow             TEXT,
    state            TEXT NOT NULL,
    created_wall_ms  INTEGER NOT NULL,
    finished_wall_ms INTEGER NOT NULL,
    logs             INTEGER NOT NULL
) STRICT;

CREATE INDEX archived_by_month ON archived (month);
CREATE INDEX archived_by_name ON archived (uid, name);
CREATE INDEX archived_by_flow_state ON archived (flow, uid, state, finished_wall_ms) WHERE flow IS NOT NULL;
CREATE INDEX archived_by_logs ON archived (logs, finished_wall_ms) WHERE logs < 2;

CREATE TABLE archived_labels (
    job   INTEGER NOT NULL REFERENCES archived (id) ON DELETE CASCADE,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX archived_labels_by_value ON archived_labels (name, value, job);

-- Which events a month of the archive holds; they were moved there from the oldest on.
CREATE TABLE archived_events (
    month     INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    count     INTEGER NOT NULL
) STRICT;

-- Months that are being deleted: whoever finds one here goes on with it.
CREATE TABLE archive_going (
    month INTEGER PRIMARY KEY
) STRICT;

-- Jobs whose rows are still in the file of a month that has them no more: they were removed or brought
-- back. Whoever finds one here deletes it there.
CREATE TABLE archived_left (
    job   INTEGER NOT NULL,
    month INTEGER NOT NULL,
    PRIMARY KEY (job, month)
) STRICT, WITHOUT ROWID;
