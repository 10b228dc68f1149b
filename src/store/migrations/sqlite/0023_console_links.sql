-- Links by which an administrator signs in to the console, once each, until they lapse.
CREATE TABLE console_link (
    -- SHA-256 of what stands in the link.
    digest     BLOB PRIMARY KEY,
    -- Who made it.
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
