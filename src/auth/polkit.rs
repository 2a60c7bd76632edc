//! polkit: whether the host lets somebody on the system bus do once what only administrators may.
//!
//! It is asked where the table of [`decide`](crate::auth::decide) says no, and only then, so that everything works where
//! there is no polkit.

use crate::auth::{Action, Policy};
use std::collections::HashMap;
use std::time::Duration;
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
        Action::ReadJob => Some("io.stoked.Stoked1.read-others"),
        Action::Administer => Some("io.stoked.Stoked1.set-limits"),
        Action::Drain => Some("io.stoked.Stoked1.drain"),
        Action::Connect | Action::Submit | Action::SeeJob | Action::ReadEnvironment => None,
    }
}

/// How somebody who may not gets what he wants, as a sentence.
#[must_use]
pub fn way_out(privilege: &str, policy: &Policy) -> String {
    let group = &policy.admin_group;
    format!("needs {privilege}: use sudo, or ask an administrator to add you to the group {group}")
}

/// Whether the sender of a message is authorized. Somebody is asked for a password only where the message says that
/// its sender waits for that.
///
/// # Errors
/// With a sentence, where polkit is not there or does not answer.
pub async fn allows(
    connection: &Connection,
    message: &Header<'_>,
    privilege: &str,
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
    let asked = async {
        let authority = AuthorityProxy::builder(connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let details = HashMap::new();
        authority
            .check_authorization(&sender, privilege, &details, flags, "")
            .await
    };
    match tokio::time::timeout(within, asked).await {
        Ok(Ok(answer)) => Ok(answer.is_authorized),
        Ok(Err(error)) => Err(format!("polkit cannot be asked: {error}")),
        Err(_late) => Err("polkit does not answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Mode;
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
        let policy = Policy::new(Mode::System);
        assert_eq!(
            way_out("io.stoked.Stoked1.manage-others", &policy),
            "needs io.stoked.Stoked1.manage-others: use sudo, or ask an administrator to add you to the group stoked"
        );
    }
}
