//! Who holds a port of this machine.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

/// Who holds a port.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::admin::ops::doctor) enum Holder {
    /// This machine does not have the address.
    NoSuchAddress,
    /// It is free.
    Nobody,
    /// It is taken; by whom, in words.
    Somebody(String),
    /// It cannot be tried by this user.
    Unknown(String),
}

/// Looks who holds a port. It is opened for a moment: only the system knows whether it could be.
pub(in crate::admin::ops::doctor) fn holder(address: SocketAddr) -> Holder {
    match TcpListener::bind(address) {
        Ok(_) => Holder::Nobody,
        Err(error) => match error.kind() {
            ErrorKind::AddrInUse => Holder::Somebody(owner(address.port())),
            ErrorKind::AddrNotAvailable => Holder::NoSuchAddress,
            // Ports below 1024 are for root, or for a service that was given the right.
            _ => Holder::Unknown(error.to_string()),
        },
    }
}

#[cfg(target_os = "linux")]
fn owner(port: u16) -> String {
    let inodes = linux::listening(port);
    match linux::process_with(&inodes) {
        Some((process, name)) => format!("process {process} (`{name}`)"),
        None => format!("another program (`sudo ss -ltnp 'sport = :{port}'` names it)"),
    }
}

#[cfg(not(target_os = "linux"))]
fn owner(port: u16) -> String {
    match cfg!(windows) {
        true => format!("another program (`netstat -abno` names it, by port {port})"),
        false => format!("another program (`sudo lsof -nP -iTCP:{port} -sTCP:LISTEN` names it)"),
    }
}

/// What Linux tells in /proc. Of other users' processes only root sees it.
#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    /// The state of a socket that listens, in /proc/net/tcp.
    const LISTENS: &str = "0A";

    /// The inodes of the sockets that listen on a port.
    pub(super) fn listening(port: u16) -> Vec<String> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
        tables.flat_map(|table| inodes(&table, port)).collect()
    }

    /// The same in one of the tables: `sl local_address rem_address st … inode`.
    pub(super) fn inodes(table: &str, port: u16) -> Vec<String> {
        let port = format!(":{port:04X}");
        let listening = table.lines().skip(1).filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [_, local, _, LISTENS, _, _, _, _, _, inode, ..] if local.ends_with(&port) => Some((*inode).to_owned()),
                _ => None,
            }
        });
        listening.collect()
    }

    /// The process that has one of these sockets open, and its name.
    pub(super) fn process_with(inodes: &[String]) -> Option<(u32, String)> {
        let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
        let processes = fs::read_dir("/proc").ok()?.flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|process: u32| {
            let open = fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten();
            let mut targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
            targets.any(|target| target.to_str().is_some_and(|target| wanted.iter().any(|one| one == target))).then(
                || {
                    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
                    (process, name.trim_end().to_owned())
                },
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_told_from_a_free_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let Holder::Somebody(who) = holder(address) else { panic!("it is taken") };
        if cfg!(target_os = "linux") {
            assert!(who.starts_with(&format!("process {} (`", std::process::id())), "{who}");
        }
        drop(listener);
        // Another test may take a port as soon as it is given back, but not each of them.
        let given_back = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!((0..20).any(|_| holder(given_back()) == Holder::Nobody));
        // 192.0.2.0/24 is nobody's (RFC 5737).
        assert_eq!(holder("192.0.2.1:1143".parse().unwrap()), Holder::NoSuchAddress);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_sockets_that_listen_on_the_port_itself_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:0477 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 x\n\
             1: 0100007F:0477 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 x\n\
             2: 0100007F:1477 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 x\n";
        assert_eq!(linux::inodes(table, 1143), ["4242"]);
        assert!(linux::inodes("", 1143).is_empty());
    }
}
