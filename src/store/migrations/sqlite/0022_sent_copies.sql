-- Copies of sent messages that a mail program files beside Exchange's own are dropped.
ALTER TABLE app_password ADD COLUMN drop_sent_append INTEGER NOT NULL DEFAULT 0;
