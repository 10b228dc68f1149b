//! 6a. IMAP and POP3: joining the two ends.
