-- How many transactions Exchange has taken of a message, or may have taken: so many copies of it may be filed that say nothing of a further
-- one.
ALTER TABLE queued_message ADD COLUMN copies INTEGER NOT NULL DEFAULT 0;
UPDATE queued_message SET copies =
    (SELECT COUNT(*) FROM queued_recipient WHERE message = queued_message.id AND queued_recipient.state = 'delivered');
-- What is submitted with this app password is held, since the mail that waited was held when it was revoked: a session that had not ended
-- yet may hand a message in a moment later.
ALTER TABLE app_password ADD COLUMN hold_mail INTEGER NOT NULL DEFAULT 0;
