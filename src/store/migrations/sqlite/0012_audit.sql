-- Who did what, and who logged in. Each instance has a chain of its own: the seal of an entry covers the one before it.
CREATE TABLE audit (
    instance    TEXT NOT NULL,
    number      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    -- act, login, login-refused, strangers
    kind        TEXT NOT NULL,
    mailbox     TEXT,
    password_id TEXT,
    -- What else there is to say of it: JSON.
    details     TEXT NOT NULL,
    seal        BLOB NOT NULL,
    PRIMARY KEY (instance, number)
);
CREATE INDEX audit_at ON audit (at);
-- The newest entry of each chain, so that its end cannot be cut off; and up to which entry it was pruned, so that its beginning cannot.
CREATE TABLE audit_end (
    instance TEXT NOT NULL,
    -- newest, pruned
    of       TEXT NOT NULL,
    number   BIGINT NOT NULL,
    -- The seal of that entry.
    seal     BLOB NOT NULL,
    at       BIGINT NOT NULL,
    -- The seal of this row.
    own_seal BLOB NOT NULL,
    PRIMARY KEY (instance, of)
);
