//! Imap.

use crate::base::Answer;
use crate::front::{Front, Setting, Step, Welcome};

/// A client's connection before login.
#[derive(Debug)]
pub struct Imap {
    setting: Setting,
}

impl Imap {
    /// Begins a conversation; the greeting is the first step.
    pub fn new(setting: Setting) -> Self {
        Self { setting }
    }
}

impl Front for Imap {
    fn feed(&mut self, _bytes: &[u8]) {}

    fn step(&mut self) -> Step {
        Step::Close
    }

    fn judge(&mut self, _verdict: Result<Welcome, Answer>) {}

    fn secured(&mut self) {
        self.setting.secured = true;
    }

    fn farewell(&self, _answer: Answer) -> Vec<u8> {
        Vec::new()
    }

    fn client_name(&self) -> Option<&str> {
        None
    }
}
