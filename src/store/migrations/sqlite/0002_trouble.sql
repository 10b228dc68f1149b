-- When a refresh token was last used with success: 90 days of silence kill it.
ALTER TABLE sign_in ADD COLUMN refreshed_at BIGINT;
ALTER TABLE sign_in ADD COLUMN remedy TEXT;

-- What keeps a mailbox from being opened by a protocol: since when, and when it was last seen. It goes with the next success.
DROP TABLE refusal;
CREATE TABLE trouble (
    mailbox  TEXT NOT NULL REFERENCES mailbox (address) ON DELETE CASCADE,
    protocol TEXT NOT NULL,
    code     TEXT NOT NULL,
    whose    TEXT NOT NULL,
    since    BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    reason   TEXT NOT NULL,
    remedy   TEXT,
    PRIMARY KEY (mailbox, protocol)
);

-- What stood behind the references that mail programs were given. The oldest are dropped.
CREATE TABLE incident (
    number      INTEGER PRIMARY KEY,
    reference   TEXT NOT NULL,
    at          BIGINT NOT NULL,
    mailbox     TEXT,
    protocol    TEXT,
    password_id TEXT,
    code        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    remedy      TEXT
);
CREATE INDEX incident_reference ON incident (reference);
