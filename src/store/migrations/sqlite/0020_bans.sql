-- Networks from which so much was guessed that nobody is let in from there for a while.
CREATE TABLE ban (
    network TEXT PRIMARY KEY,
    since   BIGINT NOT NULL,
    until   BIGINT NOT NULL,
    -- How many times in a row.
    strikes INTEGER NOT NULL,
    -- How many different passwords were tried.
    tries   INTEGER NOT NULL
);
