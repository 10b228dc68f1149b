-- Whose an app password is, and how it is used.
ALTER TABLE app_password ADD COLUMN owner TEXT;
ALTER TABLE app_password ADD COLUMN note TEXT;
ALTER TABLE app_password ADD COLUMN created_by TEXT;
ALTER TABLE app_password ADD COLUMN last_address TEXT;
ALTER TABLE app_password ADD COLUMN last_protocol TEXT;
ALTER TABLE app_password ADD COLUMN last_client TEXT;
ALTER TABLE app_password ADD COLUMN last_tls TEXT;
ALTER TABLE app_password ADD COLUMN logins BIGINT NOT NULL DEFAULT 0;
ALTER TABLE app_password ADD COLUMN refusals BIGINT NOT NULL DEFAULT 0;
