-- Times are milliseconds since 1970 in UTC. Lists are comma-separated text.

CREATE TABLE revision (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    number   BIGINT NOT NULL
);
INSERT INTO revision (only_row, number) VALUES (1, 1);

CREATE TABLE mailbox (
    address     TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL,
    sign_in_as  TEXT,
    disabled_at BIGINT,
    created_at  BIGINT NOT NULL
);

CREATE TABLE alias (
    login   TEXT PRIMARY KEY,
    mailbox TEXT NOT NULL REFERENCES mailbox (address) ON DELETE CASCADE
);
CREATE INDEX alias_mailbox ON alias (mailbox);

-- No reference to mailbox: a removed mailbox leaves its revoked passwords behind as a record.
CREATE TABLE app_password (
    id           TEXT PRIMARY KEY,
    mailbox      TEXT NOT NULL,
    label        TEXT NOT NULL,
    verifier     BLOB NOT NULL UNIQUE,
    protocols    TEXT NOT NULL,
    networks     TEXT NOT NULL,
    delivery     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT
);
CREATE INDEX app_password_mailbox ON app_password (mailbox);

-- account is '' for what the tenant itself signs in with (app-only).
CREATE TABLE sign_in (
    tenant  TEXT NOT NULL,
    account TEXT NOT NULL,
    sealed  BLOB,
    whose   TEXT NOT NULL,
    since   BIGINT NOT NULL,
    reason  TEXT,
    PRIMARY KEY (tenant, account)
);

-- Exchange lets this mailbox in no more by this protocol until somebody mends it.
CREATE TABLE refusal (
    mailbox  TEXT NOT NULL REFERENCES mailbox (address) ON DELETE CASCADE,
    protocol TEXT NOT NULL,
    since    BIGINT NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (mailbox, protocol)
);
