//! Every administrative act, once.
