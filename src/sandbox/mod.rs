//! A pretend tenant on loopback.
