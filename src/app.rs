//! config → build → run → drain.
