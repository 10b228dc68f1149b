-- A secret that a device brought along is compared with a slow hash (Argon2id, a PHC string), and its verifier is random and nobody's.
ALTER TABLE app_password ADD COLUMN slow_hash TEXT;
