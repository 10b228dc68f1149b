//! 6b. SMTP: what becomes of a message.
