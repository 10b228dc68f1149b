//! 1. Sockets in: bind, accept, server TLS, permits.

pub mod certificate;
