//! Postern lets mail programs that only know user name and password keep working with Exchange Online.
//!
//! A connection comes in at a [`listener`], a [`front`] speaks its protocol up to the login, [`auth`] decides who may come in
//! and for what, the [`broker`] finds the access token for that mailbox, [`upstream`] opens an authenticated connection with
//! it, and then [`relay`] joins the two ends (IMAP, POP3) or [`delivery`] sees to the message (SMTP). [`session`] tells that
//! story once, [`app`] owns every task. The modules below stand in the order of that road; `docs/ARCHITECTURE.md` says who
//! may use whom, and a test holds it to that.

pub mod base;
pub mod config;
pub mod wire;

pub mod listener;

pub mod front;

pub mod auth;

pub mod broker;

pub mod upstream;

pub mod relay;

pub mod delivery;

pub mod session;

pub mod foundation;

pub mod store;

pub mod telemetry;

pub mod app;

pub mod admin;
pub mod sandbox;
