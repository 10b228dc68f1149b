-- The app password in whose place this one was issued; that one ends when its time of overlap does.
ALTER TABLE app_password ADD COLUMN replaces TEXT;
CREATE INDEX app_password_replaces ON app_password (replaces);
