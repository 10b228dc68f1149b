-- Messages that were acknowledged and are not delivered yet. Their content lies in the spool, one file each, and is flushed before its row is
-- committed: a row without its file is damage, a file without its row is a message that was never acknowledged.
CREATE TABLE queued_message (
    id              TEXT PRIMARY KEY,
    mailbox         TEXT NOT NULL,
    password_id     TEXT NOT NULL,
    -- What stands behind `MAIL `.
    mail            TEXT NOT NULL,
    size_octets     BIGINT NOT NULL,
    message_id      TEXT,
    is_report       INTEGER NOT NULL,
    accepted_at     BIGINT NOT NULL,
    -- waiting, held-for-setup (goes out by itself when the set-up is mended), held (by the administrator), stuck (nobody can be told)
    state           TEXT NOT NULL,
    next_at         BIGINT NOT NULL,
    attempts        INTEGER NOT NULL,
    -- When the attempt began that is under way.
    attempt_at      BIGINT,
    -- Whether an attempt ended without an answer to the whole message.
    is_unknown      INTEGER NOT NULL,
    -- How long it was held, which does not count towards its age, in milliseconds; and since when it is.
    held_millis     BIGINT NOT NULL,
    held_since      BIGINT,
    code            TEXT,
    reason          TEXT,
    remedy          TEXT
);
CREATE INDEX queued_message_mailbox ON queued_message (mailbox, accepted_at);

CREATE TABLE queued_recipient (
    message TEXT NOT NULL REFERENCES queued_message (id) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    -- What stands behind `RCPT `.
    rcpt    TEXT NOT NULL,
    -- waiting, delivered, failed
    state   TEXT NOT NULL,
    reply   TEXT,
    PRIMARY KEY (message, number)
);
