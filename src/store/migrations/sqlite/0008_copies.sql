-- How many transactions Exchange has taken of a message, or may have taken: so many copies of it may be filed that say nothing of a further
-- one.
ALTER TABLE queued_message ADD COLUMN copies INTEGER NOT NULL DEFAULT 0;
UPDATE queued_message SET copies =
    (SELECT COUNT(*) FROM queued_recipient WHERE message = queued_message.id AND queued_recipient.state = 'delivered');
-- An attempt that is under way without a time of its own is one that may complete the message. Those of an older version did not say how far
-- they had come.
UPDATE queued_message SET is_unknown = 1, unknown_at = NULL WHERE attempt_at IS NOT NULL;
UPDATE queued_recipient SET is_unknown = 1 WHERE state = 'waiting'
    AND message IN (SELECT id FROM queued_message WHERE attempt_at IS NOT NULL);
-- What is submitted with this app password is held, since the mail that waited was held when it was revoked: a session that had not ended
-- yet may hand a message in a moment later.
ALTER TABLE app_password ADD COLUMN hold_mail INTEGER NOT NULL DEFAULT 0;
