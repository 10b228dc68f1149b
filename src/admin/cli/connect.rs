//! `postern mailbox connect`: a person signs in, in a browser of this machine, on another device, or by a refresh token.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::mailbox::document;
use crate::admin::cli::output::{Output, Tone};
use crate::admin::cli::redirect::Receiver;
use crate::admin::cli::secret_file;
use crate::admin::cli::terminal::LongLines;
use crate::admin::cli::values;
use crate::admin::ops::{Ops, SignInDesk};
use crate::base::{Fault, Mailbox, Secret};
use crate::broker::{BrowserSignIn, Connected, Redirected};
use crate::config::Grant;

/// How long a person has for a sign-in in a browser. The code that it brings back lives ten minutes.
const BROWSER_TIME: Duration = Duration::from_secs(15 * 60);

/// Sign a mailbox in
///
/// Opens a browser on this machine, unless the tenant's grant is device_code. The person that signs in is the mailbox's owner, or the
/// account that `--sign-in-as` named when the mailbox was added. With client_credentials no sign-in exists and none is needed.
#[derive(Args, Debug)]
pub(super) struct Connect {
    /// The address of the mailbox, or of the account that signs in for it
    #[arg(value_parser = values::address)]
    pub(super) address: Mailbox,
    #[command(flatten)]
    pub(super) way: Way,
}

/// How a person signs in.
#[derive(Args, Debug)]
pub(super) struct Way {
    /// Print the address to open instead of opening a browser, and take the address pasted back that the browser ends at
    #[arg(long, conflicts_with_all = ["device_code", "refresh_token_file"])]
    no_browser: bool,
    /// Print a code to be entered on another device
    #[arg(long, conflicts_with = "refresh_token_file")]
    device_code: bool,
    /// The port on this machine that the browser is sent back to, for a provider that knows only one [default: a free one]
    #[arg(long, value_name = "PORT", conflicts_with_all = ["device_code", "refresh_token_file"])]
    redirect_port: Option<u16>,
    /// Take a refresh token from this file, which holds nothing else; `-` is stdin
    #[arg(long, value_name = "FILE")]
    refresh_token_file: Option<PathBuf>,
}

impl Connect {
    pub(super) async fn run(self, ops: &Ops, output: &Output, token: Option<Secret<String>>) -> Result<(), Failure> {
        let mailbox = ops.mailbox_to_sign_in(&self.address).await?;
        self.way.sign_in(ops, output, &mailbox, token).await?;
        document(output, &ops.mailbox(&mailbox).await?)
    }
}

impl Way {
    /// Whether any way is named.
    pub(super) fn is_named(&self) -> bool {
        self.no_browser || self.device_code || self.refresh_token_file.is_some()
    }

    /// The refresh token, if one is named.
    pub(super) fn read_token(&self) -> Result<Option<Secret<String>>, Failure> {
        self.refresh_token_file.as_deref().map(read_token).transpose()
    }

    /// Signs the mailbox in; `token` is the one that [`Way::read_token`] has read.
    pub(super) async fn sign_in(
        &self,
        ops: &Ops,
        output: &Output,
        address: &Mailbox,
        token: Option<Secret<String>>,
    ) -> Result<(), Failure> {
        let desk = ops.sign_in_desk(address).await?;
        let by_device = self.device_code || (desk.grant() == Grant::DeviceCode && !self.no_browser);
        let connected = if let Some(token) = token {
            let spinner = output.spinner(&format!("signing {address} in"));
            let connected = desk.with_refresh_token(token).await;
            drop(spinner);
            Ok(connected?)
        } else if by_device {
            by_device_code(&desk, output).await
        } else if self.no_browser {
            pasted(&desk, output, self.redirect_port.unwrap_or(PASTED_PORT)).await
        } else {
            in_browser(&desk, output, self.redirect_port.unwrap_or(0)).await
        }?;
        tell(output, address, &connected);
        Ok(())
    }
}

fn tell(output: &Output, address: &Mailbox, connected: &Connected) {
    if connected.without.is_empty() {
        output.note(&format!("{address} is signed in"));
        return;
    }
    let names: Vec<_> = connected.without.iter().map(|(protocol, _)| protocol.name().to_uppercase()).collect();
    output.note(&format!("{address} is signed in, but not for {}", names.join(" and ")));
    let mut told: Vec<String> = Vec::new();
    for (_, error) in &connected.without {
        // One reason of several protocols.
        if told.contains(&error.to_string()) {
            continue;
        }
        told.push(error.to_string());
        output.problem(Tone::Warning, &error.to_string(), error.remedy().as_deref());
    }
}

/// Opens a browser, and waits for it at a port of this machine (RFC 8252, section 7.3).
async fn in_browser(desk: &SignInDesk, output: &Output, port: u16) -> Result<Connected, Failure> {
    let receiver = Receiver::open(port).map_err(|error| {
        let message = format!("the browser's way back cannot be opened: {error}");
        Failure::operation("redirect-port", message, "Give a free port with --redirect-port, or use --no-browser.")
    })?;
    let sign_in = Arc::new(desk.begin_in_browser(&receiver.address())?);
    output.say(&format!(
        "sign in as {} in the browser; if none opens, open this address on this machine:",
        desk.account()
    ));
    output.say(sign_in.url().as_str());
    if open::that_detached(sign_in.url().as_str()).is_err() {
        output
            .note("no browser could be started here; with --no-browser or --device-code it may be on another machine");
    }
    let spinner = output.spinner(&format!("waiting for {} to sign in", desk.account()));
    let answer = tokio::time::timeout(BROWSER_TIME, receiver.answer(Arc::clone(&sign_in))).await;
    drop(spinner);
    match answer {
        Ok(answer) => Ok(desk.finish_in_browser(&sign_in, &answer).await?),
        Err(_) => {
            let message = format!("nobody signed in within {} minutes", BROWSER_TIME.as_secs() / 60);
            Err(Failure::operation(
                "sign-in-not-finished",
                message,
                "Run the command again; with --no-browser or \
                 --device-code the browser may be on another machine.",
            ))
        }
    }
}

/// The port named in the redirect address where nothing listens at it: any will do.
const PASTED_PORT: u16 = 53_682;

/// Prints the address, and takes the one pasted back that the browser was sent to. Nothing listens there, so the browser shows an
/// error, and the address in its bar is the answer.
async fn pasted(desk: &SignInDesk, output: &Output, port: u16) -> Result<Connected, Failure> {
    let sign_in = Arc::new(desk.begin_in_browser(&format!("http://localhost:{port}"))?);
    let lines = LongLines::begin();
    output.say(&format!("open this address in any browser and sign in as {}:", desk.account()));
    output.say(sign_in.url().as_str());
    output.say(
        "the browser ends at a page that cannot be shown; copy its whole address (http://localhost…) and paste it here:",
    );
    let (asked, told) = (Arc::clone(&sign_in), output.clone());
    let answer = tokio::task::spawn_blocking(move || read_pasted(lines, &asked, &told)).await.map_err(|error| {
        Failure::operation("input", format!("the input cannot be read: {error}"), "Run the command again.")
    })??;
    let spinner = output.spinner(&format!("signing {} in", desk.account()));
    let connected = desk.finish_in_browser(&sign_in, &answer).await;
    drop(spinner);
    Ok(connected?)
}

fn read_pasted(mut lines: LongLines, sign_in: &BrowserSignIn, output: &Output) -> Result<Secret<String>, Failure> {
    const TRIES: usize = 3;
    for _ in 0..TRIES {
        let Ok(Some(line)) = lines.next() else { break };
        match sign_in.judge(&line) {
            Redirected::Answer(answer) => return Ok(answer),
            Redirected::Stray => output.say(
                "this is not the answer to this sign-in: paste the whole address, from http:// to its end, of the page reached just now:",
            ),
        }
    }
    let message = "no answer to this sign-in was pasted";
    Err(Failure::operation("sign-in-not-finished", message, "Run the command again and paste the whole address."))
}

/// Prints a code for another device, and waits until it was entered there (RFC 8628).
async fn by_device_code(desk: &SignInDesk, output: &Output) -> Result<Connected, Failure> {
    let sign_in = desk.begin_by_device().await?;
    let address = sign_in.whole_address().unwrap_or(sign_in.address()).to_owned();
    let code = sign_in.user_code().to_owned();
    if std::io::stderr().is_terminal()
        && let Ok(picture) = QrCode::new(&address)
    {
        // Dark on light, whatever the terminal's colours, would need them to be set; most readers take it inverted.
        let drawn = picture.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        drop(writeln!(std::io::stderr().lock(), "{drawn}"));
    }
    output.say(&format!(
        "open {} on any device, enter the code {code}, and sign in as {}",
        sign_in.address(),
        desk.account()
    ));
    output.say(&format!(
        "the code is good for {} minutes; never enter a code that somebody else gave you",
        sign_in.life().as_secs().div_ceil(60)
    ));
    let spinner = output.spinner(&format!("waiting for the code {code}"));
    let connected = desk.finish_by_device(sign_in).await;
    drop(spinner);
    Ok(connected?)
}

/// Reads a refresh token: the file's one word.
fn read_token(path: &Path) -> Result<Secret<String>, Failure> {
    let line = secret_file::read_line(path, "refresh token")?;
    let text = line.expose().trim();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(secret_file::unfit(
            path,
            "refresh token",
            "it has more than one word, or a character that no token has",
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::read_token;

    #[test]
    fn a_refresh_token_is_one_word_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (content, expected) in [
            ("0.AXyz-_~\r\n", Some("0.AXyz-_~")),
            ("", None),
            ("\n", None),
            ("two words", None),
            ("one\ntwo", None),
            ("jörg", None),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read_token(&path).ok().map(|token| token.expose().clone()).as_deref(), expected, "{content:?}");
        }
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(read_token(&path).is_err());
        assert!(read_token(&folder.path().join("gone")).is_err());
    }
}
