//! Signing in to the console: whoever may give commands here makes a link, which lets one browser in, once.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

use crate::admin::ops::audit::actor;
use crate::admin::ops::{Ops, OpsError};
use crate::base::Secret;
use crate::store::ConsoleLinkRecord;

/// How long a link may be used.
const LIFE_MINUTES: i64 = 10;

/// 32 octets in base64 without padding.
const TOKEN_LENGTH: usize = 43;

/// A link to the console.
#[derive(Debug)]
pub struct ConsoleLink {
    /// Where it leads, with its secret part. It is given once.
    pub url: Secret<String>,
    /// Its end.
    pub expires_at: DateTime<Utc>,
}

impl Ops {
    /// Where the console of the process is that serves this data folder.
    ///
    /// # Errors
    /// [`OpsError::NotServed`], [`OpsError::NoConsole`].
    pub fn console_address(&self) -> Result<SocketAddr, OpsError> {
        let running = self.running()?.ok_or(OpsError::NotServed)?;
        running.console.ok_or(OpsError::NoConsole)
    }

    /// Makes a link that lets one browser in to the console at `address`, once, within ten minutes.
    ///
    /// # Errors
    /// [`OpsError::NoRandomness`]; when the store cannot be written.
    pub async fn make_console_link(&self, address: SocketAddr) -> Result<ConsoleLink, OpsError> {
        let token = random_text()?;
        let now = self.clock.now();
        let expires_at = now + chrono::Duration::minutes(LIFE_MINUTES);
        let record = ConsoleLinkRecord { digest: digest_of(token.expose()), created_by: actor(), expires_at };
        self.foundation.store.add_console_link(&record, now).await?;
        self.noted("console link made", None, None, serde_json::json!({})).await;
        let url = Secret::new(format!("http://{address}/sign-in?link={}", token.expose()));
        Ok(ConsoleLink { url, expires_at })
    }

    /// Takes the secret part of a link from a browser at `from`. Returns who made it; `None` if it was used, is over or never was.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn take_console_link(&self, token: &str, from: IpAddr) -> Result<Option<String>, OpsError> {
        // What no link can be costs the store nothing.
        if token.len() != TOKEN_LENGTH {
            return Ok(None);
        }
        let Some(link) = self.foundation.store.take_console_link(&digest_of(token), self.clock.now()).await? else {
            return Ok(None);
        };
        let more = serde_json::json!({ "by": link.created_by, "address": from.to_string() });
        self.noted("console sign-in", None, None, more).await;
        Ok(Some(link.created_by))
    }
}

/// 256 random bits as text that may stand in an address.
///
/// # Errors
/// [`OpsError::NoRandomness`].
pub fn random_text() -> Result<Secret<String>, OpsError> {
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_| OpsError::NoRandomness)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(random)))
}

/// What is kept of such a text. It has so much randomness that no slow hash is needed.
pub fn digest_of(text: &str) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    octets
}
