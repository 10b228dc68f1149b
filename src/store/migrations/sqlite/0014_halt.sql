-- Tenants, or ('') everything, that the administrator has stopped for now.
CREATE TABLE halt (
    tenant TEXT PRIMARY KEY,
    at     BIGINT NOT NULL,
    reason TEXT
);
