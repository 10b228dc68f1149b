-- When the attempt ended whose outcome is unknown, and which recipients were in it.
ALTER TABLE queued_message ADD COLUMN unknown_at BIGINT;
ALTER TABLE queued_recipient ADD COLUMN is_unknown INTEGER NOT NULL DEFAULT 0;
