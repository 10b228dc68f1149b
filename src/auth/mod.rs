//! 3. Who may come in, and for what.
