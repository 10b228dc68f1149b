//! The configuration file and the environment, checked once.
