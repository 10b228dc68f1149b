//! Exchange Online by SMTP: what it answers to the login, and to a message.

mod login;
mod message;

use crate::base::catalogue::Step;

pub(super) use self::login::LOGIN;
pub(super) use self::message::MESSAGE;

/// For what only mail programs hear that do not go through Postern.
pub(super) const GO_THROUGH_POSTERN: &[Step] = &[
    Step::Do(
        "Correct the mail program's settings: it speaks to Exchange itself. Its server is the machine that runs Postern, its port one of \
         those below, its password an app password; docs/CLIENTS.md goes through the programs.",
    ),
    Step::Run("postern status"),
    Step::Note("Postern itself never sends this. If it stands in Postern's own log, report it as a fault of Postern."),
];

/// What the login needs at Entra ID.
pub(super) const PERMISSION: Step = Step::Do(
    "Permission and consent: Entra admin centre, App registrations, your application, API permissions. With client_credentials: \
     SMTP.SendAsApp, IMAP.AccessAsApp, POP.AccessAsApp of Office 365 Exchange Online, with the status «Granted». Leave `scopes` out of the \
     configuration: a token for Microsoft Graph is refused like this.",
);

/// Whether Exchange knows the application.
pub(super) const PRINCIPAL: [Step; 4] = [
    Step::Do(
        "Service principal: its ObjectId must be the one under Enterprise applications. The one on the page of the app registration is \
         another and does not work.",
    ),
    Step::PowerShell("Get-ServicePrincipal | Format-List DisplayName,AppId,ObjectId"),
    Step::Do("If it is missing, make it; if it has the other ID, take it away first (Remove-ServicePrincipal):"),
    Step::PowerShell(
        "New-ServicePrincipal -AppId {client_id} -ObjectId {object_id_of_the_enterprise_application} -DisplayName \"Postern\"",
    ),
];

/// The right to open a mailbox.
pub(super) const FULL_ACCESS: Step = Step::PowerShell(
    "Add-MailboxPermission -Identity {mailbox} -User {object_id_of_the_enterprise_application} -AccessRights FullAccess",
);

/// The right to send as a mailbox.
pub(super) const SEND_AS: Step = Step::PowerShell(
    "Add-RecipientPermission -Identity {mailbox} -Trustee {object_id_of_the_enterprise_application} -AccessRights SendAs",
);

/// With a person's sign-in it is different.
pub(super) const PERSON: Step = Step::Note(
    "Where a person signs in (authorization_code, device_code), no service principal is needed: that person needs Full Access, Send As and \
     the protocol, unless the mailbox is their own.",
);

/// It may also be nobody's fault here.
pub(super) const OUTAGE: Step = Step::Note(
    "If all this is right and it worked before, it may be an outage: Microsoft 365 admin centre, Health, Service health. Nothing has to be \
     signed in again because of it.",
);

/// Whether the mailbox may be used by each protocol.
const SWITCHES: Step = Step::PowerShell(
    "Get-CASMailbox -Identity {mailbox} | Format-List SmtpClientAuthenticationDisabled,ImapEnabled,PopEnabled",
);

/// What the application needs before Exchange lets it into a mailbox.
pub(super) const TOKEN_NOT_ACCEPTED: &[Step] = &[
    PERMISSION,
    PRINCIPAL[0],
    PRINCIPAL[1],
    PRINCIPAL[2],
    PRINCIPAL[3],
    Step::Do("Rights: Full Access to the mailbox and, for sending, Send As:"),
    FULL_ACCESS,
    SEND_AS,
    Step::Do("Switches of the mailbox, as they are and as they should be:"),
    SWITCHES,
    Step::PowerShell(
        "Set-CASMailbox -Identity {mailbox} -SmtpClientAuthenticationDisabled $false -ImapEnabled $true -PopEnabled $true",
    ),
    Step::Do("The address: {mailbox} has to be the mailbox's primary one, as Exchange shows it."),
    PERSON,
    Step::Note(
        "With RBAC for Applications instead of these rights (SMTP only), leave SMTP.SendAsApp out of the registration and check with \
         `Test-ServicePrincipalAuthorization -Identity {client_id} -Resource {mailbox}`.",
    ),
    OUTAGE,
];

/// What is left to look at when Exchange does not let an application in although its token is for Exchange and has the permission.
pub const APPLICATION_NOT_LET_IN: &[Step] = &[
    Step::Do(
        "Service principal: Exchange must know the application by the object ID of its page under Enterprise applications, which is the one \
         in the token. The object ID on the page of the app registration is another and is refused like this. In Exchange Online PowerShell:",
    ),
    Step::PowerShell("Get-ServicePrincipal | Format-List DisplayName,AppId,ObjectId"),
    Step::Do("If it is missing, make it; if it has another ObjectId, take that away first (Remove-ServicePrincipal):"),
    PRINCIPAL[3],
    Step::Do("Rights: Full Access to the mailbox and, for sending, Send As:"),
    FULL_ACCESS,
    SEND_AS,
    Step::Do("Switches of the mailbox: SmtpClientAuthenticationDisabled False, ImapEnabled and PopEnabled True:"),
    SWITCHES,
    Step::Do("The address: {mailbox} has to be the mailbox's primary one, as Exchange shows it."),
    Step::Note("Changes take minutes; an hour is reported for a new service principal."),
    OUTAGE,
];

/// The same where a person signs in; that person stands in the place of the object ID.
pub const PERSON_NOT_LET_IN: &[Step] = &[
    Step::Do(
        "Rights: whoever signs in needs Full Access to the mailbox and, for sending, Send As, unless it is their own. In Exchange Online \
         PowerShell:",
    ),
    FULL_ACCESS,
    SEND_AS,
    Step::Do(
        "Switches: those of whoever signs in count, SmtpClientAuthenticationDisabled False, ImapEnabled and PopEnabled True:",
    ),
    Step::PowerShell(
        "Get-CASMailbox -Identity {object_id_of_the_enterprise_application} | Format-List \
         SmtpClientAuthenticationDisabled,ImapEnabled,PopEnabled",
    ),
    Step::Do("The address: {mailbox} has to be the mailbox's primary one, as Exchange shows it."),
    Step::Note("Changes take minutes."),
    OUTAGE,
];
