//! How Exchange refuses or delays a message.

use crate::base::Whose;
use crate::base::catalogue::exchange::{FULL_ACCESS, GO_THROUGH_POSTERN, SEND_AS};
use crate::base::catalogue::{Area, Certainty, Entry, ReplyCode, Retry, Step, Told};

/// A refusal of a message that someone has to mend.
const REFUSED: Entry = Entry { told: Told::NOTHING, ..Entry::of(Area::Smtp) };

/// A refusal of a message that passes.
const DELAYED: Entry = Entry {
    whose: Whose::Nobody,
    retry: Retry::BackOff { seconds: 60 },
    remedy: &[Step::Note(
        "Nothing has to be mended: the mail program is told to try again. A device that never does needs its message sent once more.",
    )],
    ..REFUSED
};

const COMPROMISED: Step = Step::Do(
    "Stop what sends: Exchange has seen spam. Find out whether it was a program gone wild or a stolen account, and revoke the app \
     password that it used:",
);

const REVOKE: Step = Step::Run("postern password revoke ID");

const SUPPORT: Step = Step::Do("Then ask Microsoft to lift it: Microsoft 365 admin centre, Support, Help & support.");

/// The refusals.
pub(in crate::base::catalogue) static MESSAGE: &[Entry] = &[
    Entry {
        code: "smtp-send-as-denied",
        seen: "554 5.2.252",
        title: "the mailbox may not send as this sender",
        example: "554 5.2.252 SendAsDenied; a@contoso.com not allowed to send as b@contoso.com; \
                  STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a \
                  permanent exception",
        marks: &["SendAsDenied"],
        replies: &[ReplyCode::one(554, 5, 2, 252)],
        what: "The message names another sender than the mailbox that Postern logged in to, and the mailbox has no right to that. The header \
               From counts, not only the envelope. Exchange says so after the whole message.",
        remedy: SEND_AS_SENDER,
        told: Told::by_smtp("554 5.2.252 SendAsDenied"),
        certainty: Certainty::Reported,
        source: "a public log of November 2025",
        ..REFUSED
    },
    Entry {
        code: "smtp-send-as-not-permitted",
        seen: "550 5.7.60",
        title: "the mailbox may not send as this sender",
        example: "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        marks: &["does not have permissions to send as this sender"],
        replies: &[ReplyCode::one(550, 5, 7, 60)],
        what: "The message names another sender than the mailbox that Postern logged in to, and the mailbox has no right to that. The header \
               From counts, not only the envelope.",
        remedy: SEND_AS_SENDER,
        told: Told::by_smtp("550 5.7.60 SMTP"),
        source: "Fix issues with printers, scanners, and LOB apps that send email",
        ..REFUSED
    },
    Entry {
        code: "smtp-mailbox-logon-failure",
        seen: "430",
        title: "the application may not send as this mailbox",
        example: "430 4.2.0 STOREDRV; mailbox logon failure",
        marks: &["mailbox logon failure"],
        what: "The application that signs in (client_credentials) has no right to send as the mailbox. Exchange says so as if it would pass.",
        remedy: &[
            Step::Do("Give the application the right to send as it, in Exchange Online PowerShell:"),
            SEND_AS,
            Step::Do("And Full Access, if it has not got it:"),
            FULL_ACCESS,
        ],
        told: Told::by_smtp("430 4.2.0 STOREDRV"),
        source: "Business Central: set up email; the whole text is from memory",
        ..REFUSED
    },
    Entry {
        code: "smtp-bad-outbound-sender",
        seen: "550 5.1.8",
        title: "Exchange has stopped this mailbox from sending, because of spam",
        example: "550 5.1.8 Access denied, bad outbound sender",
        replies: &[ReplyCode::one(550, 5, 1, 8)],
        what: "The mailbox has sent so much spam, or so much mail at once, that Microsoft has put it on the list of restricted entities.",
        remedy: &[
            COMPROMISED,
            REVOKE,
            Step::Do(
                "When that is mended, take the mailbox off the list: Microsoft Defender portal, Email & collaboration, Review, Restricted \
                 entities; or:",
            ),
            Step::PowerShell("Remove-BlockedSenderAddress -SenderAddress {mailbox}"),
        ],
        told: Told::by_smtp("550 5.1.8 Access denied, bad outbound sender"),
        source: "Fix issues with printers, scanners, and LOB apps that send email; Remove-BlockedSenderAddress",
        ..REFUSED
    },
    Entry {
        code: "smtp-daily-recipients",
        seen: "550 5.1.90",
        title: "the mailbox has written to too many recipients today",
        example: "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
        replies: &[ReplyCode::one(550, 5, 1, 90)],
        what: "A mailbox may write to 10,000 recipients in any 24 hours. Postern tells the mail program to try again later, as the limit \
               passes.",
        remedy: DAILY,
        told: Told::DAILY_LIMIT,
        retry: Retry::BackOff { seconds: 3600 },
        whose: Whose::Nobody,
        certainty: Certainty::Reported,
        source: "OfficeDocs-Exchange #2729",
        ..REFUSED
    },
    Entry {
        code: "smtp-submission-quota",
        seen: "554 5.2.0, 5.2.2",
        title: "the mailbox has written to too many recipients today",
        example: "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent \
                  exception",
        marks: &["SubmissionQuotaExceeded", "submission quota was exceeded", "Submission quota exceeded"],
        replies: &[ReplyCode::one(554, 5, 2, 0), ReplyCode { code: None, class: (5, 2), details: (2, 2) }],
        words_decide: true,
        what: "A mailbox may write to 10,000 recipients in any 24 hours. Exchange calls it permanent, but it passes, so Postern tells the \
               mail program to try again later.",
        remedy: DAILY,
        told: Told::DAILY_LIMIT,
        retry: Retry::BackOff { seconds: 3600 },
        whose: Whose::Nobody,
        source: "Changes in message store and throttling for concurrent connections",
        ..REFUSED
    },
    Entry {
        code: "smtp-mailbox-full",
        seen: "554 5.2.2",
        title: "the sender's mailbox is full",
        example: "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded",
        marks: &["5.2.2 mailbox full", "ShutoffQuotaExceeded"],
        replies: &[ReplyCode::one(554, 5, 2, 2)],
        what: "Exchange files a copy of each message in the sender's Sent Items. That mailbox is full, so it may not send either.",
        remedy: &[
            Step::Do("Make room in {mailbox}, or give it a larger quota or an archive."),
            Step::Do("For a device whose copies nobody reads, stop the filing of them:"),
            Step::PowerShell("Set-Mailbox -Identity {mailbox} -MessageCopyForSMTPClientSubmissionEnabled $false"),
        ],
        told: Told::by_smtp("554 5.2.2 mailbox full"),
        source: "Changes in message store and throttling for concurrent connections; Set-Mailbox",
        ..REFUSED
    },
    Entry {
        code: "smtp-concurrent",
        seen: "432 4.3.2",
        title: "too many messages of this mailbox at once",
        example: "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.",
        marks: &["Concurrent connections limit exceeded"],
        replies: &[ReplyCode::one(432, 4, 3, 2)],
        words_decide: true,
        what: "Exchange takes three submissions of one mailbox at a time. It says so after the message has been sent.",
        remedy: CONCURRENT,
        told: Told::by_smtp("432 4.3.2 Concurrent connections limit exceeded. …"),
        certainty: Certainty::Reported,
        source: "fastapi-mail #75, nodemailer #1613; the limit: Exchange Team Blog 607825",
        ..DELAYED
    },
    Entry {
        code: "smtp-sender-threads",
        seen: "432 4.3.2",
        title: "too many messages of this mailbox at once (older words)",
        example: "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        marks: &["sender thread limit exceeded"],
        replies: &[ReplyCode::one(432, 4, 3, 2)],
        words_decide: true,
        what: "Exchange takes three submissions of one mailbox at a time. It says so after the message has been sent.",
        remedy: CONCURRENT,
        told: Told::by_smtp("432 4.3.2 STOREDRV.ClientSubmit"),
        source: "Changes in message store and throttling for concurrent connections",
        ..DELAYED
    },
    Entry {
        code: "smtp-service-not-active",
        seen: "421 4.3.2",
        title: "this server of Exchange is about to stop",
        example: "421 4.3.2 Service not active",
        marks: &["Service not active", "Service not available"],
        replies: &[ReplyCode::one(421, 4, 3, 2)],
        words_decide: true,
        what: "The server that answered is being taken out of service. The next connection reaches another one.",
        told: Told::by_smtp("451 4.3.2 Service not active"),
        certainty: Certainty::Reported,
        source: "MailKit #1106",
        ..DELAYED
    },
    Entry {
        code: "smtp-temporary-prx",
        seen: "451 4.7.0",
        title: "the front of Exchange did not reach the mailbox server",
        example: "451 4.7.0 Temporary server error. Please try again later. PRX2",
        marks: &["Please try again later. PRX"],
        replies: &[ReplyCode::one(451, 4, 7, 0)],
        words_decide: true,
        what: "Something inside Exchange did not work this time. It has been reported to last for months for a single account, and then the \
               user or the token was wrong (not confirmed by Microsoft).",
        remedy: &[
            Step::Note("Nothing has to be mended if it passes: the mail program is told to try again."),
            Step::Do(
                "If it stays with one mailbox while others work: check that {mailbox} is its primary address, and go through what 535 5.7.3 \
                 needs:",
            ),
            Step::Run("postern explain 535 5.7.3"),
        ],
        told: Told::by_smtp("451 4.7.0 Temporary server error. Please try again later. PRX2"),
        certainty: Certainty::Reported,
        source: "MailKit #566, oauth2ms #5",
        ..DELAYED
    },
    Entry {
        code: "smtp-temporary-mrh",
        seen: "4.3.111",
        title: "the mailbox server of Exchange is short of something",
        example: "451 4.3.111 Temporary server error. Please try again later. MRH1",
        replies: &[ReplyCode { code: None, class: (4, 3), details: (111, 111) }],
        what: "The server that holds the mailbox is short of resources. It says so after the message has been sent.",
        told: Told::by_smtp("451 4.3.111 Temporary server error. Please try again later. MRH1"),
        certainty: Certainty::Reported,
        source: "seq-app-htmlemail #101",
        ..DELAYED
    },
    Entry {
        code: "smtp-organisation-queue",
        seen: "450 4.7.3",
        title: "too much mail of the organisation is waiting in Exchange",
        example: "450 4.7.3 Organization queue quota exceeded",
        replies: &[ReplyCode::one(450, 4, 7, 3)],
        what: "Exchange holds so much undelivered mail of this organisation that it takes no more for now.",
        remedy: &[Step::Do(
            "If it lasts, look for what sends so much: Exchange admin centre, Mail flow, Message trace, and Reports, Mail flow.",
        )],
        told: Told::by_smtp("450 4.7.3 Organization queue quota exceeded"),
        retry: Retry::BackOff { seconds: 900 },
        certainty: Certainty::Secondary,
        source: "smtp-field-manual",
        ..DELAYED
    },
    Entry {
        code: "smtp-temporary-network",
        seen: "451 4.4.0",
        title: "Exchange had trouble with its own network or name servers",
        example: "451 4.4.0",
        replies: &[ReplyCode::one(451, 4, 4, 0)],
        what: "Exchange could not get on with the message just now.",
        told: Told::by_smtp("451 4.4.0 …"),
        certainty: Certainty::Secondary,
        source: "smtp-field-manual",
        ..DELAYED
    },
    Entry {
        code: "smtp-insufficient-resources",
        seen: "452 4.3.1",
        title: "this server of Exchange is overloaded",
        example: "452 4.3.1 Insufficient system resources",
        replies: &[ReplyCode::one(452, 4, 3, 1)],
        what: "The server that answered has no room or memory to take a message now.",
        told: Told::by_smtp("452 4.3.1 Insufficient system resources"),
        certainty: Certainty::Secondary,
        source: "smtp-field-manual",
        ..DELAYED
    },
    Entry {
        code: "smtp-suspicious-traffic",
        seen: "451 4.7.500-699",
        title: "Exchange slows down what looks suspicious",
        example: "451 4.7.500 Access denied, please try again later",
        replies: &[ReplyCode::range(451, 4, 7, (500, 699))],
        what: "Exchange sees suspicious activity, mostly far more mail than usual from this sender or address, and restricts it while it \
               looks.",
        remedy: &[
            Step::Note("If the mail is wanted, the restriction is lifted by itself after a while."),
            Step::Do("If the mail is not wanted, stop what sends it and revoke its app password:"),
            REVOKE,
        ],
        told: Told::by_smtp("451 4.7.500 Access denied, please try again later"),
        retry: Retry::BackOff { seconds: 900 },
        source: "Email non-delivery reports in Exchange Online",
        ..DELAYED
    },
    Entry {
        code: "smtp-too-many-recipients",
        seen: "452 4.5.3",
        title: "too many recipients in one message",
        example: "452 4.5.3 Too many recipients",
        replies: &[ReplyCode::one(452, 4, 5, 3)],
        what: "The message has more recipients than the mailbox may name at once (500 unless set otherwise), or more than 200 of one domain.",
        whose: Whose::User,
        remedy: &[
            Step::Do("Send the message in parts, or to a distribution group: a group counts as one recipient."),
            Step::Do("Or allow the mailbox more, up to 1,000:"),
            Step::PowerShell("Set-Mailbox -Identity {mailbox} -RecipientLimits 1000"),
        ],
        told: Told::by_smtp("452 4.5.3 Too many recipients"),
        retry: Retry::Never,
        source: "Email non-delivery reports in Exchange Online; Set-Mailbox",
        ..REFUSED
    },
    Entry {
        code: "smtp-recipient-not-found",
        seen: "550 5.1.10, 5.1.1",
        title: "there is no such recipient",
        example: "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
        replies: &[ReplyCode::one(550, 5, 1, 10), ReplyCode::one(550, 5, 1, 1)],
        what: "The address of the recipient belongs to a domain of the organisation, and nobody there has it.",
        whose: Whose::User,
        remedy: &[Step::Do(
            "Correct the recipient's address, in the mail program's address book and in its suggestions.",
        )],
        told: Told::by_smtp("550 5.1.10 RESOLVER.ADR.RecipientNotFound"),
        retry: Retry::Never,
        source: "Email non-delivery reports in Exchange Online",
        ..REFUSED
    },
    Entry {
        code: "smtp-recipient-flooded",
        seen: "5.2.121, 5.2.122",
        title: "the recipient gets too much mail per hour",
        example: "550 5.2.121 Recipient's per hour message receive limit from specific sender exceeded",
        replies: &[ReplyCode { code: None, class: (5, 2), details: (121, 122) }],
        what: "A mailbox takes only so many messages an hour, from one sender (5.2.121) or from all (5.2.122); 3,600 is the number given by \
               other people's documents.",
        whose: Whose::Nobody,
        remedy: &[Step::Do(
            "Send less to that mailbox, or spread it over several, such as a group for the messages of a machine.",
        )],
        told: Told::by_smtp("550 5.2.121 Recipient's per hour message receive limit from specific sender exceeded"),
        retry: Retry::BackOff { seconds: 3600 },
        source: "Email non-delivery reports in Exchange Online; the number: other people's documents",
        ..REFUSED
    },
    Entry {
        code: "smtp-header-too-large",
        seen: "552 5.3.4",
        title: "the header of the message is too large",
        example: "552 5.3.4 Header size exceeds fixed maximum size",
        marks: &["Header size exceeds fixed maximum size"],
        replies: &[ReplyCode::one(552, 5, 3, 4)],
        words_decide: true,
        what: "All header fields together are more than Exchange takes: mostly very many recipients in To and Cc, or a program that repeats a \
               field. The limit itself is not known.",
        whose: Whose::User,
        remedy: &[Step::Do("Send with fewer recipients in To and Cc, or correct the program that writes the header.")],
        told: Told::by_smtp("552 5.3.4 Header size exceeds fixed maximum size"),
        retry: Retry::Never,
        certainty: Certainty::Reported,
        source: "MailKit #904",
        ..REFUSED
    },
    Entry {
        code: "smtp-message-too-large",
        seen: "552 5.3.4",
        title: "the message is too large for this mailbox",
        example: "552 5.3.4 Message size exceeds fixed maximum message size",
        marks: &["Message size exceeds fixed maximum", "message too big", "The message is too large"],
        replies: &[ReplyCode::one(552, 5, 3, 4)],
        what: "Exchange announces 150 MiB to everybody; what counts is the mailbox's own limit, 35 MB unless set otherwise. Attachments grow \
               by a third when they are sent, so that is about 26 MB of files.",
        whose: Whose::User,
        remedy: &[
            Step::Do("Send less at once, or a link."),
            Step::Do("Or allow the mailbox more, up to 150 MB:"),
            Step::PowerShell("Set-Mailbox -Identity {mailbox} -MaxSendSize 150MB"),
        ],
        told: Told::by_smtp("552 5.3.4 Message size exceeds fixed maximum message size"),
        retry: Retry::Never,
        certainty: Certainty::Reported,
        source: "MailKit #904; the limits: Set-Mailbox",
        ..REFUSED
    },
    Entry {
        code: "smtp-bare-line-feed",
        seen: "550 5.6.11",
        title: "the message holds line ends that are not allowed",
        example: "550 5.6.11 Invalid characters",
        replies: &[ReplyCode::one(550, 5, 6, 11)],
        what: "There is a line feed without a carriage return in the message. Postern mends those on their way, so it was not sent through \
               Postern, or it was changed behind it.",
        remedy: GO_THROUGH_POSTERN,
        told: Told::by_smtp("550 5.6.11 Invalid characters"),
        retry: Retry::Never,
        source: "Email non-delivery reports in Exchange Online",
        ..REFUSED
    },
    Entry {
        code: "smtp-from-invalid",
        seen: "550 5.7.512",
        title: "the message has no valid address in From",
        example: "550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant",
        replies: &[ReplyCode::one(550, 5, 7, 512)],
        what: "Each message needs a From with an address in it that is valid and stands in angle brackets. Devices often write none, or only a \
               name.",
        remedy: &[Step::Do(
            "Enter a whole address as sender in the device or program, such as {mailbox}, and look at its Reply-To as well.",
        )],
        told: Told::by_smtp("550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant"),
        source: "Email non-delivery reports in Exchange Online",
        ..REFUSED
    },
    Entry {
        code: "smtp-banned-sender",
        seen: "550 5.7.501, 5.7.502, 5.7.503",
        title: "Microsoft has banned the sending account, because of spam",
        example: "550 5.7.501 Access denied, spam abuse detected",
        replies: &[ReplyCode::range(550, 5, 7, (501, 503))],
        what: "Spam was detected from this account, and it may not send any more.",
        remedy: &[
            COMPROMISED,
            REVOKE,
            Step::Do(
                "Reset the account's password and end its sessions (Entra admin centre, Users, the account, Revoke sessions).",
            ),
            SUPPORT,
        ],
        told: Told::by_smtp("550 5.7.501 Access denied, spam abuse detected"),
        source: "Email non-delivery reports in Exchange Online",
        ..REFUSED
    },
    Entry {
        code: "smtp-banned-address",
        seen: "550 5.7.511",
        title: "Microsoft has banned the network address that sends",
        example: "550 5.7.511 Access denied, banned sender",
        replies: &[ReplyCode::one(550, 5, 7, 511)],
        what: "The address by which the mail reaches Microsoft is banned. That is known from servers that deliver to Microsoft 365; for \
               authenticated submission it would be this machine's address towards the internet.",
        remedy: &[
            Step::Do("Find out what else sends from this machine's address, and stop it."),
            Step::Do("Write to delist@microsoft.com with the whole text and the address."),
        ],
        told: Told::by_smtp("550 5.7.511 Access denied, banned sender"),
        source: "Email non-delivery reports in Exchange Online",
        ..REFUSED
    },
    Entry {
        code: "smtp-tenant-threshold",
        seen: "550 5.7.705",
        title: "the whole tenant may not send any more, because of spam",
        example: "550 5.7.705 Access denied, tenant has exceeded threshold",
        replies: &[ReplyCode::one(550, 5, 7, 705)],
        what: "Most of what this tenant sends looks suspicious to Microsoft, and the tenant is banned from sending.",
        remedy: &[
            COMPROMISED,
            REVOKE,
            Step::Do("Look for other stolen accounts and open relays in the tenant."),
            SUPPORT,
        ],
        told: Told::by_smtp("550 5.7.705 Access denied, tenant has exceeded threshold"),
        source: "Email non-delivery reports in Exchange Online",
        ..REFUSED
    },
    Entry {
        code: "smtp-tenant-traffic",
        seen: "550 5.7.708",
        title: "Microsoft does not take this tenant's mail from where it comes",
        example: "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP",
        replies: &[ReplyCode::one(550, 5, 7, 708)],
        what: "Most of what this tenant sends looks suspicious to Microsoft, and it does not accept it from this address. Microsoft \
               names new tenants that are still restricted as well.",
        remedy: &[
            Step::Do("Look for stolen accounts and programs gone wild in the tenant, and revoke their app passwords:"),
            REVOKE,
            SUPPORT,
        ],
        told: Told::by_smtp("550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP"),
        source: "Email non-delivery reports in Exchange Online; new tenants: Business Central, set up email",
        ..REFUSED
    },
    Entry {
        code: "smtp-domain-unregistered",
        seen: "550 5.7.750",
        title: "the sender's domain is not registered in the tenant",
        example: "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains",
        replies: &[ReplyCode::one(550, 5, 7, 750)],
        what: "A suspicious amount of mail comes from domains that are not registered in this tenant.",
        remedy: &[
            Step::Do("Add and verify every domain that is sent from: Microsoft 365 admin centre, Settings, Domains."),
            Step::Do("Find out what sends from other domains, and correct its sender."),
        ],
        told: Told::by_smtp("550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains"),
        source: "Email non-delivery reports in Exchange Online",
        ..REFUSED
    },
    Entry {
        code: "smtp-filter",
        seen: "550 5.7.5xx, 5.7.7xx",
        title: "Microsoft's protection against abuse refuses it",
        example: "550 5.7.509 Access denied, sending domain does not pass DMARC verification",
        replies: &[ReplyCode::range(550, 5, 7, (500, 599)), ReplyCode::range(550, 5, 7, (700, 799))],
        what: "These numbers belong to Microsoft's protection against spam and abuse. The words behind this one say what it is about.",
        remedy: &[
            Step::Do(
                "Look the number up in Microsoft's list: https://aka.ms/PillarEmailNDR (as an administrator, paste the text).",
            ),
            Step::Do("If it speaks of a ban, stop what sends before anything else."),
        ],
        told: Told::by_smtp("550 5.7.509 Access denied, sending domain does not pass DMARC verification"),
        source: "Email non-delivery reports in Exchange Online",
        ..REFUSED
    },
    Entry {
        code: "hve-external",
        seen: "550 5.5.105",
        title: "High Volume Email: recipients outside the tenant are not possible",
        example: "550 5.5.105 External sending is not supported for High Volume Email accounts",
        replies: &[ReplyCode::one(550, 5, 5, 105)],
        what: "A High Volume Email account writes to recipients of its own tenant only, since June 2025.",
        remedy: &[Step::Do(
            "Send to outside recipients from an ordinary mailbox: issue the program an app password for one.",
        )],
        told: Told::by_smtp("550 5.5.105 External sending is not supported for High Volume Email accounts"),
        source: "New-MailUser; the text: tiagoscarvalho.com",
        ..REFUSED
    },
];

const SEND_AS_SENDER: &[Step] = &[
    Step::Do(
        "If the program should send as the mailbox itself: set its sender (From) to {mailbox}. A device has the setting under «sender» or \
         «reply address».",
    ),
    Step::Do("If it should send as {sender}, and a person signs in for {mailbox}:"),
    Step::PowerShell("Add-RecipientPermission -Identity {sender} -Trustee {mailbox} -AccessRights SendAs"),
    Step::Do("If it should send as {sender}, and the application signs in (client_credentials):"),
    Step::PowerShell(
        "Add-RecipientPermission -Identity {sender} -Trustee {object_id_of_the_enterprise_application} -AccessRights SendAs",
    ),
    Step::Do("If {sender} is another address of the same mailbox, allow that in the organisation:"),
    Step::PowerShell("Set-OrganizationConfig -SendFromAliasEnabled $true"),
];

const DAILY: &[Step] = &[
    Step::Do("Find out whether so much was meant to be sent; if not, revoke the app password that sends it:"),
    REVOKE,
    Step::Do(
        "If it was: spread it over several mailboxes, write to groups (each counts as one), or use High Volume Email for recipients \
         inside the organisation.",
    ),
];

const CONCURRENT: &[Step] = &[
    Step::Note("Nothing has to be mended if it is rare: the mail program is told to try again."),
    Step::Do(
        "If it is frequent, let the program send over one connection at a time, or give its parts mailboxes of their own.",
    ),
    Step::Note("Exchange also slows a mailbox down beyond 30 messages a minute."),
];
