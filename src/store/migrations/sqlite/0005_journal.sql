-- What became of messages: who sent what kind of envelope when, and what Exchange said. Never anything of their content.
CREATE TABLE journal (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    at              BIGINT NOT NULL,
    mailbox         TEXT NOT NULL,
    -- The public ID of the app password; empty for a report of ours.
    password_id     TEXT NOT NULL,
    -- The name in the queue, for a message that was in it.
    queue_id        TEXT,
    -- Empty for nobody.
    sender          TEXT NOT NULL,
    -- The recipients of whom this is told, one a line.
    recipients      TEXT NOT NULL,
    recipient_count BIGINT NOT NULL,
    size_octets     BIGINT NOT NULL,
    message_id      TEXT,
    -- smtp, graph; empty where it took none.
    route           TEXT NOT NULL,
    -- delivered, queued, refused, expired, dropped
    outcome         TEXT NOT NULL,
    -- Exchange's reply, or why.
    reply           TEXT
);
CREATE INDEX journal_at ON journal (at);
CREATE INDEX journal_queue ON journal (queue_id);
