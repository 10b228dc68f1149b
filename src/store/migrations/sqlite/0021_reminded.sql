-- So many days before its end it was spoken of last.
ALTER TABLE app_password ADD COLUMN reminded_days INTEGER;
