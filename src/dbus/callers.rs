//! Who calls: the bus says which user a connection belongs to, once, and when it is gone.

use crate::api::local::Local;
use crate::auth::Subject;
use crate::dbus::desk::{Desk, Errand};
use crate::dbus::error::Error;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zbus::fdo::DBusProxy;
use zbus::message::{Header, Type};
use zbus::names::UniqueName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, MessageStream};

/// So many callers are remembered at once: each is a match rule at the bus, which allows 512 of them.
const MOST_KNOWN: usize = 256;

const BUS: &str = "org.freedesktop.DBus";

/// The callers of one connection to a bus. A name is never given to another one while that bus lives.
#[derive(Debug)]
pub(super) struct Callers {
    local: Local,
    desk: Desk,
    tasks: TaskTracker,
    stop: CancellationToken,
    known: Mutex<BTreeMap<String, Known>>,
}

/// A caller whose end will be heard of.
#[derive(Debug)]
struct Known {
    subject: Arc<Subject>,
    /// Cancelled when it is gone, or the daemon goes down.
    gone: CancellationToken,
}

impl Callers {
    /// Nobody has called yet. Whoever does is listened to by a task on `tasks`, until `stop`.
    pub(super) fn new(
        local: Local,
        desk: Desk,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            local,
            desk,
            tasks,
            stop,
            known: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        // The map is whole after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a caller is there, and its end will be heard of.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.known().contains_key(name)
    }

    /// Cancelled when a caller is gone, as far as that will be heard of, or the daemon goes down.
    pub(super) fn gone(&self, name: &str) -> CancellationToken {
        let known = self.known().get(name).map(|known| known.gone.clone());
        known.unwrap_or_else(|| self.stop.child_token())
    }

    /// Who sent a message.
    pub(super) async fn subject(
        self: &Arc<Self>,
        connection: &Connection,
        message: &Header<'_>,
    ) -> Result<Arc<Subject>, Error> {
        let sender = message.sender().ok_or_else(|| {
            Error::AccessDenied("the message has no sender: send it through a bus".to_owned())
        })?;
        let subject = |known: &Known| Arc::clone(&known.subject);
        let known = self.known().get(sender.as_str()).map(subject);
        if let Some(subject) = known {
            return Ok(self.local.again(&subject).await?);
        }
        self.meet(connection, sender).await
    }

    async fn meet(
        self: &Arc<Self>,
        connection: &Connection,
        sender: &UniqueName<'_>,
    ) -> Result<Arc<Subject>, Error> {
        // Before it is asked who that is, so that its end cannot come in between unheard.
        let gone = if self.known().len() < MOST_KNOWN {
            let rule = MatchRule::builder()
                .msg_type(Type::Signal)
                .sender(BUS)
                .interface(BUS)
                .member("NameOwnerChanged")
                .arg(0, sender.as_str())
                .build()?;
            Some(MessageStream::for_match_rule(rule, connection, None).await?)
        } else {
            None
        };
        let bus = DBusProxy::builder(connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let asked = bus.get_connection_credentials(sender.clone().into()).await;
        let told = asked.map_err(|error| {
            Error::AccessDenied(format!("the bus does not say who calls: {error}"))
        })?;
        let uid = told.unix_user_id().ok_or_else(|| {
            Error::AccessDenied("the bus does not know the user who calls".to_owned())
        })?;
        let group = told.unix_group_ids().and_then(|all| all.first()).copied();
        let pid = told.process_id().and_then(|pid| i32::try_from(pid).ok());
        let subject = self.local.subject(uid, group, pid).await?;
        if let Some(gone) = gone {
            self.remember(sender.to_string(), &subject, gone);
        }
        Ok(subject)
    }

    /// Remembers a caller until the bus says that it is gone, or is gone itself.
    fn remember(self: &Arc<Self>, name: String, subject: &Arc<Subject>, mut gone: MessageStream) {
        let token = self.stop.child_token();
        match self.known().entry(name.clone()) {
            // Two calls came at once, and the other one listens already.
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => place.insert(Known {
                subject: Arc::clone(subject),
                gone: token.clone(),
            }),
        };
        let callers = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = callers.stop.cancelled() => return,
                _ = gone.next() => {}
            }
            callers.known().remove(&name);
            token.cancel();
            callers.desk.tell(Errand::Gone(name)).await;
        });
    }
}
