//! The PROXY protocol (versions 1 and 2): a load balancer says first whose connection it passes on.
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest header of version 1, its end included.
const LONGEST_LINE_OCTETS: usize = 107;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version, family and length.
const FIXED_OCTETS: usize = 16;

/// What may stand behind that: two addresses, and notes that nobody here reads.
const MOST_OCTETS: usize = 4096;

/// A header that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection ended or broke in front of its end.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// It is none.
    #[error("it does not begin with a header of the PROXY protocol")]
    None,
}

/// Reads the header, and not one octet behind it. The client's address; `None` where the load balancer speaks for itself, or does not say.
///
/// # Errors
/// [`HeaderError`].
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = vec![0; 5];
    stream.read_exact(&mut header).await?;
    if header == b"PROXY" {
        while !header.ends_with(b"\n") {
            if header.len() >= LONGEST_LINE_OCTETS {
                return Err(HeaderError::None);
            }
            header.push(stream.read_u8().await?);
        }
    } else if SIGNATURE.starts_with(&header) {
        header.resize(FIXED_OCTETS, 0);
        stream.read_exact(header.get_mut(5..).unwrap_or_default()).await?;
        let length = header.get(FIXED_OCTETS - 2..).and_then(|two| two.try_into().ok()).map_or(0, u16::from_be_bytes);
        let length = usize::from(length);
        if !header.starts_with(SIGNATURE) || length > MOST_OCTETS {
            return Err(HeaderError::None);
        }
        header.resize(FIXED_OCTETS + length, 0);
        stream.read_exact(header.get_mut(FIXED_OCTETS..).unwrap_or_default()).await?;
    } else {
        return Err(HeaderError::None);
    }
    client(&header).ok_or(HeaderError::None)
}

/// The client that a whole header names; `None` outside: it is no header.
fn client(header: &[u8]) -> Option<Option<SocketAddr>> {
    let result = HeaderResult::parse(header);
    if result.is_incomplete() {
        return None;
    }
    match result {
        HeaderResult::V1(Ok(header)) => Some(match header.addresses {
            v1::Addresses::Tcp4(tcp) => Some(SocketAddr::from((tcp.source_address, tcp.source_port))),
            v1::Addresses::Tcp6(tcp) => Some(SocketAddr::from((tcp.source_address, tcp.source_port))),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Some(None),
        HeaderResult::V2(Ok(header)) => Some(match header.addresses {
            v2::Addresses::IPv4(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
            v2::Addresses::IPv6(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
            v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn of(octets: &[u8]) -> (Result<Option<SocketAddr>, HeaderError>, usize) {
        let mut rest = octets;
        let read = read(&mut rest).await;
        (read, rest.len())
    }

    fn second(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, addresses, b"EHLO x\r\n"].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_stands_behind_them() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0x02, 0x4b];
        let mut v6 = [0_u8; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        v6[32..34].copy_from_slice(&[0x12, 0x34]);
        let with_notes = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        for (octets, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 587\r\nEHLO x\r\n".to_vec(), Some("192.0.2.7:4660")),
            (b"PROXY TCP6 2001:db8:: ::1 4660 587\r\nEHLO x\r\n".to_vec(), Some("[2001:db8::]:4660")),
            (b"PROXY UNKNOWN\r\nEHLO x\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff:: ee:: 1 2\r\nEHLO x\r\n".to_vec(), None),
            (second(1, 0x11, &v4), Some("192.0.2.7:4660")),
            (second(1, 0x11, &with_notes), Some("192.0.2.7:4660")),
            (second(1, 0x21, &v6), Some("[2001:db8::]:4660")),
            (second(0, 0x11, &v4), None),
            (second(0, 0x00, &[]), None),
        ] {
            let (read, rest) = of(&octets).await;
            assert_eq!(read.unwrap(), client.map(|text| text.parse().unwrap()), "{octets:?}");
            assert_eq!(rest, 8, "{octets:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_and_not_taken_for_one() {
        for octets in [
            &b"EHLO client\r\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n",
            b"PROXY TCP4 999.0.2.7 10.0.0.1 4660 587\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 587\n",
            b"PROXY TCP9 192.0.2.7 10.0.0.1 4660 587\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"",
            b"PROX",
        ] {
            assert!(of(octets).await.0.is_err(), "{octets:?}");
        }
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 500]].concat();
        assert!(matches!(of(&endless).await, (Err(HeaderError::None), rest) if rest >= 400));
        assert!(of(&second(1, 0x11, &[1, 2, 3])).await.0.is_err());
        assert!(of(&second(7, 0x11, &[0; 12])).await.0.is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(octets in prop::collection::vec(any::<u8>(), 0..200), version: bool) {
            let begin: &[u8] = if version { b"PROXY " } else { SIGNATURE };
            let octets = [begin, &octets].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (read, rest) = runtime.block_on(of(&octets));
            prop_assert!(read.is_err() || rest < octets.len());
        }
    }
}
