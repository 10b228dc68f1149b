-- How many attempts were begun; `attempts` starts anew when the set-up is mended, and this does not: it tells the copies of attempts apart.
ALTER TABLE queued_message ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
UPDATE queued_message SET begun = attempts;
