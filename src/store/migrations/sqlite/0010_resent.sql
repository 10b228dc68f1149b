-- How often a message was sent although it might have arrived; `copies` also counts the transactions that Exchange took.
ALTER TABLE queued_message ADD COLUMN resent INTEGER NOT NULL DEFAULT 0;
UPDATE queued_message SET resent = copies WHERE is_unknown;
