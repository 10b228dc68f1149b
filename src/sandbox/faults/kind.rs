//! What values a fault can have.

/// What may stand behind the `=` of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Switch,
    /// Nothing (always), or how many times it happens.
    Times,
    /// A whole number, with the one that holds when none is given.
    Number(u64),
    /// A whole number that must be given.
    NeedsNumber,
    /// One address.
    Address,
    /// Nothing (everyone), or addresses separated by commas.
    MaybeAddresses,
    /// Addresses separated by commas.
    Addresses,
    /// A text that must be given; whoever uses it reads it.
    Text,
    /// Nothing, or one of these words.
    MaybeWord(&'static [&'static str]),
    /// One of these words.
    Word(&'static [&'static str]),
}

impl Kind {
    pub(super) fn wants(self) -> &'static str {
        match self {
            Self::Switch => "no value",
            Self::Times => "no value (always), or how many times it happens",
            Self::Number(_) => "no value, or a whole number",
            Self::NeedsNumber => "a whole number",
            Self::Address => "an address",
            Self::MaybeAddresses => "no value (every mailbox), or addresses separated by commas",
            Self::Addresses => "addresses separated by commas",
            Self::Text => "a value",
            Self::MaybeWord(_) | Self::Word(_) => "one of the words that its description names",
        }
    }

    pub(super) fn allows(self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Switch | Self::Times | Self::Number(_) | Self::MaybeAddresses | Self::MaybeWord(_), None) => true,
            (Self::Switch, Some(_)) => false,
            (Self::Times | Self::Number(_) | Self::NeedsNumber, Some(value)) => value.parse::<u64>().is_ok(),
            (Self::Address, Some(value)) => value.contains('@') && !value.contains(','),
            (Self::MaybeAddresses | Self::Addresses, Some(value)) => {
                value.split(',').all(|address| address.contains('@'))
            }
            (Self::Text, Some(value)) => !value.is_empty(),
            (Self::MaybeWord(words) | Self::Word(words), Some(value)) => words.contains(&value),
            (Self::NeedsNumber | Self::Address | Self::Addresses | Self::Text | Self::Word(_), None) => false,
        }
    }
}
