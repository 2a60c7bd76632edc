//! polkit: whether the host lets somebody on the system bus do once what only administrators may.
//!
//! It is asked where the table of [`decide`](crate::auth::decide) says no, and only then, so that everything works where
//! there is no polkit.

use crate::auth::{Action, Mode, Policy};
use std::collections::HashMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use zbus::Connection;
use zbus::message::{Flags, Header};
use zbus::proxy::CacheProperties;
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

/// How long an answer may take where nobody is asked for a password.
const ANSWER: Duration = Duration::from_secs(10);

/// How long somebody may take to type one.
const TYPING: Duration = Duration::from_secs(120);

/// What the host has to allow for an action of an administrator; nothing for what polkit is not asked about.
#[must_use]
pub fn privilege(action: Action) -> Option<&'static str> {
    match action {
        Action::ControlJob => Some("io.stoked.Stoked1.manage-others"),
        Action::Administer => Some("io.stoked.Stoked1.set-limits"),
        Action::Drain => Some("io.stoked.Stoked1.drain"),
        Action::SeeUse | Action::ReadJob => Some("io.stoked.Stoked1.read-others"),
        Action::Connect | Action::Submit | Action::SeeJob | Action::ReadEnvironment => None,
    }
}

/// How somebody who may not gets what he wants, as a sentence; nothing where there is no way that holds for everybody.
#[must_use]
pub fn way_out(action: Action, policy: &Policy) -> Option<String> {
    match policy.mode {
        Mode::System => {
            let (privilege, group) = (privilege(action)?, &policy.access.admin_group);
            Some(format!(
                "needs {privilege}: run it with sudo, or ask an administrator to add you to the group {group}"
            ))
        }
        // Nobody but root gets as far as to be told of anything else than the door, and root may do all but this.
        Mode::User { uid } => (action == Action::Submit)
            .then(|| format!("run it as its user: sudo -u '#{uid}' stoke …")),
    }
}

/// Whether the sender of a message is authorized. Somebody is asked for a password only where the message says that
/// its sender waits for that, and no longer than until he is `gone`.
///
/// # Errors
/// With a sentence, where polkit is not there or does not answer.
pub async fn allows(
    connection: &Connection,
    message: &Header<'_>,
    privilege: &str,
    gone: &CancellationToken,
) -> Result<bool, String> {
    let waits = message
        .primary()
        .flags()
        .contains(Flags::ALLOW_INTERACTIVE_AUTH);
    let (flags, within) = if waits {
        (CheckAuthorizationFlags::ALLOW_USER_INTERACTION, TYPING)
    } else {
        (CheckAuthorizationFlags::empty(), ANSWER)
    };
    // The name on the bus, not a process id: that may be another one's by the time it is looked up.
    let sender = Subject::new_for_message_header(message).map_err(|error| error.to_string())?;
    let unasked = |error| format!("polkit cannot be asked: {error}");
    let authority = AuthorityProxy::builder(connection)
        .cache_properties(CacheProperties::No)
        .build();
    let authority = authority.await.map_err(unasked)?;
    // Messages of one sender are numbered.
    let question = message.primary().serial_num();
    let question = format!(
        "{}/{question}",
        message.sender().map_or("", |it| it.as_str())
    );
    let details = HashMap::new();
    let asked = authority.check_authorization(&sender, privilege, &details, flags, &question);
    let why = tokio::select! {
        answer = tokio::time::timeout(within, asked) => match answer {
            Ok(answer) => return answer.map(|it| it.is_authorized).map_err(unasked),
            Err(_late) => "polkit does not answer",
        },
        () = gone.cancelled() => "who asked is gone",
    };
    // Else the dialog would stay open, for an answer that nobody waits for.
    let cancelled = authority.cancel_check_authorization(&question);
    drop(tokio::time::timeout(ANSWER, cancelled).await);
    Err(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_asked_for_is_in_the_shipped_policy() {
        let path = "packaging/polkit-1/io.stoked.Stoked1.policy";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let shipped = std::fs::read_to_string(path).unwrap();
        for action in Action::ALL {
            if let Some(privilege) = privilege(action) {
                let named = format!("<action id=\"{privilege}\">");
                assert!(shipped.contains(&named), "{privilege}");
            }
        }
        // In all three slots of every action, so that who comes over ssh is not locked out.
        let actions = shipped.matches("<action id=").count();
        assert_eq!(shipped.matches(">auth_admin_keep<").count(), 3 * actions);
    }

    #[test]
    fn a_denial_says_the_way_out() {
        let mut policy = Policy::new(Mode::System);
        policy.access.admin_group = "wheel".to_owned();
        assert_eq!(
            way_out(Action::ControlJob, &policy).as_deref(),
            Some(
                "needs io.stoked.Stoked1.manage-others: run it with sudo, or ask an administrator to add you to the group wheel"
            )
        );
        for action in Action::ALL {
            let way_out = way_out(action, &policy);
            assert_eq!(way_out.is_some(), privilege(action).is_some(), "{action:?}");
        }
    }

    #[test]
    fn no_group_helps_with_the_daemon_of_a_user() {
        let policy = Policy::new(Mode::User { uid: 1000 });
        for action in Action::ALL {
            let way_out = way_out(action, &policy);
            let wanted =
                (action == Action::Submit).then_some("run it as its user: sudo -u '#1000' stoke …");
            assert_eq!(way_out.as_deref(), wanted, "{action:?}");
        }
    }
}
