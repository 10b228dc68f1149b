-- Who may stand as the sender: addresses, and domains with `@` in front, one a line; empty is whomever Exchange allows. And whether the
-- mailbox is put in the sender's place.
ALTER TABLE app_password ADD COLUMN senders TEXT NOT NULL DEFAULT '';
ALTER TABLE app_password ADD COLUMN force_from INTEGER NOT NULL DEFAULT 0;
