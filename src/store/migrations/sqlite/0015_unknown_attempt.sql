-- The attempt by which the message may have arrived; 0 is the one while its client waited. Its copy has that number in its `Received`.
ALTER TABLE queued_message ADD COLUMN unknown_attempt INTEGER NOT NULL DEFAULT 0;
