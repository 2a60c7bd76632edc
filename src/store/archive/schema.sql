-- One month of the archive. Tables have the names and columns that they have in the main database and in the
-- progress history, so that the same queries read both; only environments are not archived. There are no references
-- between them: a job is written and deleted as a whole, by its number.

CREATE TABLE IF NOT EXISTS jobs (
    id               INTEGER PRIMARY KEY,
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
    finished_boot_ms INTEGER
) STRICT;

CREATE TABLE IF NOT EXISTS job_specs (
    job  INTEGER PRIMARY KEY,
    spec TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS job_deps (
    job        INTEGER NOT NULL,
    dependency INTEGER NOT NULL,
    PRIMARY KEY (job, dependency)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS job_labels (
    job   INTEGER NOT NULL,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS attempts (
    job             INTEGER NOT NULL,
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
    progress        TEXT,
    tally           TEXT,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS events (
    seq      INTEGER PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    channel  TEXT NOT NULL,
    kind     TEXT NOT NULL,
    uid      INTEGER,
    is_final INTEGER NOT NULL,
    job      INTEGER,
    body     TEXT NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS events_by_job ON events (job) WHERE job IS NOT NULL;

CREATE TABLE IF NOT EXISTS points (
    job     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (job, attempt, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS newest (
    job     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
