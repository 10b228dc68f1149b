//! 5. Sockets out, authenticated with the token.
