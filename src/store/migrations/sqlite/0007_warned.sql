-- When the sender was told that a message waits. A recipient may be `returned` as well now: failed, and the sender was told.
ALTER TABLE queued_message ADD COLUMN warned_at BIGINT;
