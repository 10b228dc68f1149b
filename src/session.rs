//! One connection from greeting to goodbye; the only file that knows every stage.
