//! Why a conversation ends, for the log and for the client.

use crate::auth::SessionEnd;
use crate::base::Answer;

/// Why a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::session) enum Ending {
    /// The client takes nothing any more.
    #[error("connection broken")]
    Broken,
    /// The client has closed its side.
    #[error("closed by the client")]
    ClientClosed,
    /// The login holds no more.
    #[error("{0}")]
    Ended(SessionEnd),
    /// All was said: QUIT, LOGOUT, or an answer that closes.
    #[error("goodbye was said")]
    Goodbye,
    /// The client was silent for too long.
    #[error("idle for too long")]
    Idle,
    /// The client did not log in in time.
    #[error("no login in time")]
    NoLogin,
    /// A message came too slowly.
    #[error("the message came too slowly")]
    Slow,
    /// The service stops.
    #[error("the service is stopping")]
    Stopping,
}

impl Ending {
    /// What the client is told, where it is we who end the conversation.
    pub(in crate::session) fn answer(self) -> Option<Answer> {
        match self {
            Self::Broken | Self::ClientClosed | Self::Goodbye => None,
            Self::Ended(_) => Some(Answer::Ended),
            Self::Idle | Self::NoLogin | Self::Slow => Some(Answer::GoodBye),
            Self::Stopping => Some(Answer::Stopping),
        }
    }
}
