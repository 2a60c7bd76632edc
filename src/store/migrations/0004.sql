-- Where archived jobs are found: everything that lists, flows and names are answered from, so that none of these has to
-- open a file of the archive. What a job was asked and did is in archive/YYYY-MM.db.
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

CREATE TABLE archived_events (
    month     INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    count     INTEGER NOT NULL
) STRICT;

CREATE TABLE archive_going (
    month INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE archived_left (
    job   INTEGER NOT NULL,
    month INTEGER NOT NULL,
    PRIMARY KEY (job, month)
) STRICT, WITHOUT ROWID;
