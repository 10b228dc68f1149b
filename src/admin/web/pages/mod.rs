//! The pages, by what they are about.

pub(in crate::admin::web) mod audit;
pub(in crate::admin::web) mod explain;
pub(in crate::admin::web) mod mailboxes;
pub(in crate::admin::web) mod overview;
pub(in crate::admin::web) mod passwords;
pub(in crate::admin::web) mod queue;
pub(in crate::admin::web) mod sign_in;
