//! The steps a front has decided on and not yet given out; consecutive words to the client are joined.

use std::collections::VecDeque;

use crate::front::Step;

/// Steps in their order.
#[derive(Debug, Default)]
pub(super) struct Steps {
    queue: VecDeque<Step>,
    ended: bool,
}

/// What came of looking at the input once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something was done; there may be more to do.
    Moved,
    /// Nothing can be done before more comes: input, a verdict, a reply, or the handshake.
    Waits,
}

impl Steps {
    /// Says these bytes to the client, behind all that was decided before.
    pub(super) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        if bytes.as_ref().is_empty() {
            return;
        }
        match self.queue.back_mut() {
            Some(Step::Write(words)) => words.extend_from_slice(bytes.as_ref()),
            _ => self.queue.push_back(Step::Write(bytes.as_ref().to_vec())),
        }
    }

    /// Does this behind all that was decided before.
    pub(super) fn then(&mut self, step: Step) {
        self.ended |= matches!(step, Step::Close | Step::HandOver(_));
        self.queue.push_back(step);
    }

    /// Whether [`Step::Close`] or [`Step::HandOver`] was decided: no input is looked at any more.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The next step, unless it is words that others may still be joined to.
    pub(super) fn next_settled(&mut self) -> Option<Step> {
        match self.queue.front() {
            Some(Step::Write(words)) if self.queue.len() == 1 && words.len() < JOIN_OCTETS => None,
            _ => self.queue.pop_front(),
        }
    }

    /// The next step.
    pub(super) fn next(&mut self) -> Option<Step> {
        self.queue.pop_front()
    }
}

/// About what fits into a few segments. Without it, a client that pipelines a lot could make us gather a lot.
const JOIN_OCTETS: usize = 4096;
