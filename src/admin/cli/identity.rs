//! Acting as the user that owns the data directory. A file that root left there could not be read by the service.

use std::path::Path;

use crate::admin::cli::failure::Failure;

/// If this is root and `data_dir` is another user's, becomes that user, for good, and returns the name. Must be called
/// before any thread is started.
#[cfg(unix)]
pub(super) fn become_owner_of(data_dir: &Path) -> Result<Option<String>, Failure> {
    use std::os::unix::fs::MetadataExt;

    use nix::unistd::{Gid, Uid, User, geteuid, setgid, setuid};

    if !geteuid().is_root() {
        return Ok(None);
    }
    let Ok(metadata) = std::fs::metadata(data_dir) else { return Ok(None) };
    let owner = Uid::from_raw(metadata.uid());
    if owner.is_root() {
        return Ok(None);
    }
    let user = User::from_uid(owner).ok().flatten();
    let group = user.as_ref().map_or(Gid::from_raw(metadata.gid()), |user| user.gid);
    let name = user.as_ref().map_or_else(|| format!("user {owner}"), |user| user.name.clone());
    take_groups(user.as_ref(), group).and_then(|()| setgid(group)).and_then(|()| setuid(owner)).map_err(|error| {
        let message =
            format!("`{}` belongs to {name}, and this process cannot become {name}: {error}", data_dir.display());
        Failure::operation("identity", message, format!("Run the command as {name}."))
    })?;
    Ok(Some(name))
}

/// Leaves root's groups and takes the user's.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn take_groups(user: Option<&nix::unistd::User>, group: nix::unistd::Gid) -> nix::Result<()> {
    match user.and_then(|user| std::ffi::CString::new(user.name.as_bytes()).ok()) {
        Some(name) => nix::unistd::initgroups(&name, group),
        None => nix::unistd::setgroups(&[group]),
    }
}

/// The system sets them itself when the user changes.
#[cfg(all(unix, target_vendor = "apple"))]
fn take_groups(_user: Option<&nix::unistd::User>, _group: nix::unistd::Gid) -> nix::Result<()> {
    Ok(())
}

/// Windows has no such step: the rights of the folder decide.
#[cfg(not(unix))]
pub(super) fn become_owner_of(_data_dir: &Path) -> Result<Option<String>, Failure> {
    Ok(None)
}
