-- An app password with a successor ends when that one is used and this one was not for so long, in milliseconds.
ALTER TABLE app_password ADD COLUMN ends_unused_millis BIGINT;
