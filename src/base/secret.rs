//! Values that must not be seen: they cannot be printed, cloned or serialised, and are wiped when dropped.

use std::fmt;

use zeroize::Zeroize;

/// A value that is never shown by accident.
///
/// There is no `Display`, `Clone` or `Serialize`, and `Debug` prints `[secret]`. Reading it is a call that stands out in a
/// review: [`expose`](Secret::expose).
///
/// ```compile_fail,E0277
/// let token = postern::base::Secret::new(String::from("eyJ0"));
/// println!("{token}");
/// ```
///
/// ```compile_fail,E0599
/// let token = postern::base::Secret::new(String::from("eyJ0"));
/// let copy = token.clone();
/// ```
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl From<String> for Secret<String> {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let secret = Secret::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?} {secret:#?}"), "[secret] [secret]");
    }
}
