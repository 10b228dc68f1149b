//! 4. Access tokens.
