//! A relay that lets through what a [`Watch`] allows. The far side's octets pass as they are; an answer of ours is put between two of its
//! responses. Such sessions are few, so each has buffers of its own.

use std::future::pending;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until, timeout};

use crate::base::{Answer, Protocol};
use crate::relay::{End, FLUSH_TIME, Outcome, Settings, Why, finish};
use crate::wire::answer;
use crate::wire::watch::{SentCopy, Watch, WatchEnd};

/// Octets that are read at a time, and that may wait for a writer.
const BUFFER_OCTETS: usize = 16 * 1024;

/// Octets that are read and not yet written.
#[derive(Default)]
struct Waiting {
    octets: Vec<u8>,
    written: usize,
    /// The writer may hold octets back until it is flushed.
    unflushed: bool,
}

impl Waiting {
    fn left(&self) -> &[u8] {
        self.octets.get(self.written..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.left().is_empty()
    }

    /// What is to be filled, once everything in it is written.
    fn room(&mut self) -> &mut Vec<u8> {
        self.octets.clear();
        self.written = 0;
        &mut self.octets
    }

    /// Writes some of it, or flushes what was written. Nothing is lost where this is dropped.
    async fn write<W: AsyncWrite + Unpin>(&mut self, writer: &mut W) -> std::io::Result<u64> {
        if self.is_empty() {
            writer.flush().await?;
            self.unflushed = false;
            return Ok(0);
        }
        let written = writer.write(self.left()).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.written += written;
        self.unflushed = true;
        Ok(written as u64)
    }

    fn wants(&self) -> bool {
        !self.is_empty() || self.unflushed
    }
}

/// Joins two ends as [`join`](super::join) does, with a watcher of what the client says, which is returned. `is_filed` tells of a message
/// whether there is a copy of it already; meanwhile the client waits.
pub async fn join_watched<C, S, F>(
    client: End<C>,
    server: End<S>,
    mut watch: Watch,
    is_filed: impl Fn(SentCopy) -> F,
    settings: Settings,
    stop: impl Future<Output = Answer>,
) -> (Outcome, Watch)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = bool>,
{
    let (mut from_client, mut to_client) = split(client.stream);
    let (mut from_server, mut to_server) = split(server.stream);
    // What the client has said and the watcher has not taken yet.
    let mut said = client.already_read;
    watch.server(&server.already_read);
    let (mut up, mut down) = (Waiting::default(), Waiting::default());
    *down.room() = server.already_read;
    let (mut client_buffer, mut server_buffer) = (vec![0; BUFFER_OCTETS], vec![0; BUFFER_OCTETS]);
    let (mut up_octets, mut down_octets) = (0, 0);
    let (mut client_ended, mut told_server) = (false, false);
    let mut farewell = Answer::GoodBye;
    let mut last_moved = Instant::now();
    let mut stop = pin!(stop);
    let mut asked = None;

    let why = loop {
        if up.is_empty() {
            let taken = watch.client(&said, up.room());
            said.drain(..taken);
        }
        if let Some(copy) = watch.question() {
            asked = Some(Box::pin(is_filed(copy)));
        }
        if down.is_empty()
            && let Some(answer) = watch.answer()
        {
            *down.room() = answer;
            continue;
        }
        match watch.end() {
            // What is left of it does not go on: the server may take it for commands.
            Some(WatchEnd::Refused) => break Why::Refused,
            Some(WatchEnd::Quit) if !up.wants() && !down.wants() => break Why::ClientClosed,
            _ => {}
        }
        // Whoever has said its last word and had it passed on is done with as soon as the far side is.
        let tells_server = client_ended && said.is_empty() && !watch.is_behind() && !up.wants() && !told_server;
        let may_listen = said.is_empty() && up.is_empty() && !client_ended;
        let allowed = if client_ended { settings.linger_time } else { settings.idle_time };
        tokio::select! {
            read = from_client.read(&mut client_buffer), if may_listen => match read {
                Ok(0) => client_ended = true,
                Ok(count) => said.extend_from_slice(client_buffer.get(..count).unwrap_or_default()),
                // One that closes without close_notify ends as well.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => client_ended = true,
                Err(_) => break Why::Broken,
            },
            written = async {
                if tells_server {
                    // That it cannot be told is no reason not to hear what it still says.
                    drop(to_server.shutdown().await);
                    return Ok(None);
                }
                up.write(&mut to_server).await.map(Some)
            }, if tells_server || up.wants() => match written {
                Ok(Some(count)) => up_octets += count,
                Ok(None) => told_server = true,
                Err(_) => break Why::Broken,
            },
            read = from_server.read(&mut server_buffer), if down.is_empty() => match read {
                Ok(0) if client_ended => break Why::ClientClosed,
                Ok(0) => break Why::ServerClosed,
                Ok(count) => {
                    let octets = server_buffer.get(..count).unwrap_or_default();
                    watch.server(octets);
                    down.room().extend_from_slice(octets);
                }
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break Why::ServerClosed,
                Err(_) => break Why::Broken,
            },
            written = down.write(&mut to_client), if down.wants() => match written {
                Ok(count) => down_octets += count,
                Err(_) => break Why::Broken,
            },
            is_filed = async {
                match &mut asked {
                    Some(asked) => asked.await,
                    None => pending().await,
                }
            } => {
                asked = None;
                watch.told(is_filed);
            }
            answer = &mut stop => {
                farewell = answer;
                break Why::Stopped;
            }
            () = sleep_until(last_moved + allowed) => break if client_ended { Why::ClientClosed } else { Why::Idle },
        }
        last_moved = Instant::now();
    };

    // What the server has said so far belongs to a client that is told why the session ends.
    if why == Why::Refused {
        let rest = async {
            while down.wants() {
                down_octets += down.write(&mut to_client).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        drop(timeout(FLUSH_TIME, rest).await);
    }
    let between = down.is_empty() && watch.between_responses();
    let last_words = match why {
        Why::Stopped | Why::Idle | Why::Refused if between && settings.protocol == Protocol::Imap => {
            answer::imap(None, farewell)
        }
        _ => Vec::new(),
    };
    let mut server = from_server.unsplit(to_server);
    let hang_up = async move { drop(timeout(FLUSH_TIME, server.shutdown()).await) };
    tokio::join!(finish(from_client.unsplit(to_client), &last_words, usize::MAX), hang_up);
    (Outcome { up_octets, down_octets, why }, watch)
}
