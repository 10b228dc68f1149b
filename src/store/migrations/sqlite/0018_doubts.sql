-- The transactions by which a message may have arrived without anybody having said so: each has a mark of its own, and recipients of its own.
CREATE TABLE queued_doubt (
    message TEXT NOT NULL REFERENCES queued_message (id) ON DELETE CASCADE,
    -- As `begun` counted it; 0 is the one while its client waited.
    attempt BIGINT NOT NULL,
    -- When it ended; null while it is under way.
    at      BIGINT,
    -- The places of its recipients, separated by commas.
    places  TEXT NOT NULL,
    PRIMARY KEY (message, attempt)
);
INSERT INTO queued_doubt (message, attempt, at, places)
    SELECT id, unknown_attempt, CASE WHEN attempt_at IS NULL THEN COALESCE(unknown_at, accepted_at) ELSE unknown_at END,
        COALESCE((SELECT group_concat(number) FROM queued_recipient WHERE message = queued_message.id AND queued_recipient.is_unknown), '')
    FROM queued_message WHERE is_unknown;
ALTER TABLE queued_message DROP COLUMN is_unknown;
ALTER TABLE queued_message DROP COLUMN unknown_at;
ALTER TABLE queued_message DROP COLUMN unknown_attempt;
ALTER TABLE queued_recipient DROP COLUMN is_unknown;
