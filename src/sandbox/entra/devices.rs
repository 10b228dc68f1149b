//! Device codes (RFC 8628): given to a machine without a browser, approved by a person who has one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::sandbox::SandboxError;
use crate::sandbox::entra::codes::SignIn;
use crate::sandbox::faults::{FaultName, Faults};
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tokens::random_hex;

/// By how much a poll that came too soon makes the interval longer (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// The letters and digits of a user code: none that is taken for another.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// All device codes ever given out.
#[derive(Default)]
pub(in crate::sandbox) struct Devices(Mutex<Vec<Device>>);

struct Device {
    device_code: String,
    user_code: String,
    client_id: String,
    scopes: String,
    expires: Instant,
    interval: Duration,
    last_poll: Option<Instant>,
    state: State,
}

#[derive(Clone, PartialEq, Eq)]
enum State {
    Waiting,
    Approved(String),
    Declined,
    Redeemed,
}

/// A new device code, and what the person enters for it.
pub(super) struct Codes {
    pub(super) device_code: String,
    pub(super) user_code: String,
}

impl Devices {
    /// Makes a device code.
    pub(super) fn issue(
        &self,
        client_id: &str,
        scopes: &str,
        lifetime: Duration,
        interval: Duration,
    ) -> Result<Codes, SandboxError> {
        // Real ones begin like this and are about this long.
        let codes = Codes { device_code: format!("GAQABIQEAAAC{}", random_hex(80)?), user_code: user_code()? };
        self.lock().push(Device {
            device_code: codes.device_code.clone(),
            user_code: codes.user_code.clone(),
            client_id: client_id.to_owned(),
            scopes: scopes.to_owned(),
            expires: Instant::now() + lifetime,
            interval,
            last_poll: None,
            state: State::Waiting,
        });
        Ok(codes)
    }

    /// The application and the scopes that wait for this user code.
    pub(super) fn waiting(&self, user_code: &str) -> Option<(String, String)> {
        let mut devices = self.lock();
        let device = find_waiting(&mut devices, user_code)?;
        Some((device.client_id.clone(), device.scopes.clone()))
    }

    /// What the person did; false if nothing waits for this user code.
    pub(in crate::sandbox) fn settle(&self, user_code: &str, approved_by: Option<&str>) -> bool {
        let mut devices = self.lock();
        let Some(device) = find_waiting(&mut devices, user_code) else { return false };
        device.state = approved_by.map_or(State::Declined, |user| State::Approved(user.to_ascii_lowercase()));
        true
    }

    /// What a poll brings (RFC 8628, section 3.5, in Entra's words).
    pub(super) fn poll(&self, device_code: &str, client_id: &str, faults: &Faults) -> Result<SignIn, Refusal> {
        let mut devices = self.lock();
        let device = devices
            .iter_mut()
            .find(|device| device.device_code == device_code && device.client_id == client_id)
            .ok_or_else(|| Refusal::of(70_018))?;
        let now = Instant::now();
        if device.expires <= now {
            return Err(Refusal::of(70_019));
        }
        if faults.holds(FaultName::DeviceBlocked) {
            return Err(Refusal::of(53_003));
        }
        let last_poll = device.last_poll.replace(now);
        if device.state == State::Waiting {
            let too_soon = last_poll.is_some_and(|last| now < last + device.interval);
            let slow_down = match faults.text(FaultName::DeviceSlowDown) {
                Some(_) => faults.strikes(FaultName::DeviceSlowDown),
                None => too_soon && faults.holds(FaultName::DeviceSlowDown),
            };
            if slow_down {
                device.interval += SLOWER;
                // No number of Entra's is known for it.
                return Err(Refusal::of(70_016).named("slow_down"));
            }
            if let Some(user) = faults.text(FaultName::DeviceAs).filter(|_| last_poll.is_some()) {
                device.state = State::Approved(user.to_ascii_lowercase());
            }
        }
        match device.state.clone() {
            State::Waiting => Err(Refusal::of(70_016)),
            State::Declined => Err(Refusal::of(65_004).named("authorization_declined")),
            State::Redeemed => Err(Refusal::of(54_005)),
            State::Approved(user) => {
                device.state = State::Redeemed;
                Ok(SignIn { user, scopes: device.scopes.clone() })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Device>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// People type small letters, and spaces between groups.
fn find_waiting<'a>(devices: &'a mut [Device], user_code: &str) -> Option<&'a mut Device> {
    let typed: String = user_code.chars().filter(|typed| !typed.is_whitespace() && *typed != '-').collect();
    devices.iter_mut().find(|device| {
        device.user_code.eq_ignore_ascii_case(&typed)
            && device.state == State::Waiting
            && device.expires > Instant::now()
    })
}

/// Nine letters and digits.
fn user_code() -> Result<String, SandboxError> {
    let mut random = [0_u8; 9];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| SandboxError::Random)?;
    Ok(random
        .iter()
        .filter_map(|octet| ALPHABET.get(usize::from(octet % 32)))
        .map(|octet| char::from(*octet))
        .collect())
}
