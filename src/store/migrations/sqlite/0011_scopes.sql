-- What else an app password is bound to.
ALTER TABLE app_password ADD COLUMN read_only INTEGER NOT NULL DEFAULT 0;
-- Addresses, and domains with @ in front, one a line; empty means any.
ALTER TABLE app_password ADD COLUMN recipients TEXT NOT NULL DEFAULT '';
ALTER TABLE app_password ADD COLUMN starts_at BIGINT;
ALTER TABLE app_password ADD COLUMN max_per_minute BIGINT;
ALTER TABLE app_password ADD COLUMN max_per_day BIGINT;
ALTER TABLE app_password ADD COLUMN max_sessions BIGINT;
-- It works only where, and by the protocol by which, it was first used.
ALTER TABLE app_password ADD COLUMN binds_network INTEGER NOT NULL DEFAULT 0;
ALTER TABLE app_password ADD COLUMN binds_protocol INTEGER NOT NULL DEFAULT 0;
-- It has to be used by then for the first time.
ALTER TABLE app_password ADD COLUMN activate_by BIGINT;
-- Kept of those that the first use decides something for.
ALTER TABLE app_password ADD COLUMN first_used_at BIGINT;
ALTER TABLE app_password ADD COLUMN first_network TEXT;
ALTER TABLE app_password ADD COLUMN first_protocol TEXT;
