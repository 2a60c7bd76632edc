//! The D-Bus face: `io.stoked.Stoked1` on the system bus for the host's daemon, on the session bus for a user's own.
//!
//! It is a second door onto the same service ([`crate::api::local`]) and decides nothing. The daemon works without it:
//! a bus that is not there, or goes away, is looked for again at growing distances, and missed by nobody.

mod callers;
mod coalesce;
mod convert;
mod counted;
mod desk;
mod error;
mod leases;
mod objects;
mod onlooker;
mod root;
mod summary;
mod teller;
mod values;

#[cfg(test)]
mod tests;

pub use values::Overview;

use crate::api::local::Local;
use crate::dbus::callers::Callers;
use crate::dbus::counted::Counted;
use crate::dbus::desk::Desk;
use crate::dbus::objects::HostObject;
use crate::dbus::onlooker::Onlooker;
use crate::dbus::root::Root;
use crate::dbus::teller::{Ended, Teller};
use crate::dbus::values::{ROOT, host_path};
use crate::events::pattern::{Filter, Pattern};
use crate::events::queue::QueueOptions;
use crate::events::{Bus, Subscription};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::{DBusProxy, ObjectManager, RequestNameFlags, RequestNameReply};
use zbus::names::WellKnownName;
use zbus::proxy::CacheProperties;

/// The name on the bus.
const NAME: &str = "io.stoked.Stoked1";

/// The first pause before a bus is looked for again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest one. A bus that never was there is not looked for any more after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a bus may take to let somebody in.
const ENTERING: Duration = Duration::from_secs(25);

/// What is told there is made from.
#[derive(Debug)]
pub struct Face {
    /// The door onto the API.
    pub local: Local,
    /// Where events come from.
    pub bus: Bus,
    /// How it stands with all jobs together.
    pub overview: watch::Receiver<Overview>,
    /// Where its tasks are counted.
    pub tasks: TaskTracker,
    /// How it stands with the bus, as a sentence.
    pub standing: watch::Sender<String>,
}

/// Why there is no bus, and whether there was one.
struct Lost {
    was_there: bool,
    why: String,
}

impl Face {
    /// Serves until `stop`, whether or not there is a bus.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut was_ever_there = false;
        loop {
            let lost = match self.serve(&stop).await {
                Ok(()) => return,
                Err(lost) => lost,
            };
            was_ever_there |= lost.was_there;
            let why = &lost.why;
            if lost.was_there {
                pause = FIRST_PAUSE;
                tracing::info!(why, "the bus is gone, and is looked for");
            } else {
                tracing::debug!(why, "there is no bus");
            }
            if pause >= LONGEST_PAUSE && !was_ever_there {
                let standing =
                    format!("there is no bus: {why}; one that comes later is used after a restart");
                self.standing.send_replace(standing);
                return;
            }
            self.standing
                .send_replace(format!("there is no bus, and it is looked for: {why}"));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Serves on a bus for as long as it is there.
    async fn serve(&self, stop: &CancellationToken) -> Result<(), Lost> {
        let absent = |why: String| Lost {
            was_there: false,
            why,
        };
        let entered = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            entered = tokio::time::timeout(ENTERING, self.enter()) => entered,
        };
        let connection = match entered {
            Ok(connection) => connection.map_err(absent)?,
            Err(_late) => return Err(absent("it does not answer".to_owned())),
        };
        let ended = self.speak(connection.clone(), stop.clone()).await;
        match ended {
            Ok(Ended::Stopped) => {
                // Whatever was said before goes out; then the name is free.
                drop(connection.close().await);
                Ok(())
            }
            Ok(Ended::Lost) => Err(Lost {
                was_there: true,
                why: "it closed the connection".to_owned(),
            }),
            Err(error) => Err(absent(error.to_string())),
        }
    }

    async fn enter(&self) -> Result<Connection, String> {
        let builder = if self.local.policy().mode.is_system() {
            Builder::system()
        } else {
            // Else one would be guessed at, that of a session this daemon does not belong to.
            let names = ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"];
            if names.iter().all(|name| std::env::var_os(name).is_none()) {
                return Err(format!("neither {} nor {} is set", names[0], names[1]));
            }
            Builder::session()
        };
        // With something to serve from the start on, it is built only when calls are listened to: else the first ones that
        // come could be lost.
        let builder = builder.serve_at(ROOT, ObjectManager);
        builder.build().await.map_err(|error| error.to_string())
    }

    async fn speak(&self, connection: Connection, stop: CancellationToken) -> zbus::Result<Ended> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let itself = self.local.subject(uid, Some(gid), None).await;
        let itself = itself.map_err(|problem| zbus::Error::Failure(problem.title))?;
        // Before anything is read, so that nothing that happens meanwhile is missed.
        let events = subscribe(&self.bus);
        let (desk, errands) = Desk::new();
        let callers = Callers::new(
            self.local.clone(),
            desk.clone(),
            self.tasks.clone(),
            stop.clone(),
        );
        let counted = Arc::new(Counted::new(self.overview.clone()));
        let onlooker = Onlooker::new(&self.local, &itself);
        let root = Root::new(
            self.local.clone(),
            itself,
            callers.clone(),
            Arc::clone(&counted),
            desk,
        );
        let host = HostObject {
            local: self.local.clone(),
        };
        let server = connection.object_server();
        let _taken = server.at(ROOT, root).await?;
        let _taken = server.at(host_path(), host).await?;
        let mut teller = Teller::new(
            connection.clone(),
            self.local.clone(),
            onlooker,
            callers,
            counted,
            self.overview.clone(),
        );
        teller.begin().await?;
        self.claim(&connection).await?;
        Ok(teller.run(self.bus.clone(), events, errands, stop).await)
    }

    /// Claims the name, now that all is there.
    async fn claim(&self, connection: &Connection) -> zbus::Result<()> {
        let bus = DBusProxy::builder(connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let name = WellKnownName::from_static_str(NAME)?;
        let reply = bus.request_name(name, RequestNameFlags::empty()).await?;
        let which = if self.local.policy().mode.is_system() {
            "system"
        } else {
            "session"
        };
        let standing = match reply {
            RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner => {
                tracing::debug!(bus = which, "on the bus");
                format!("{NAME} on the {which} bus")
            }
            RequestNameReply::InQueue | RequestNameReply::Exists => {
                tracing::info!(bus = which, "another process has the name {NAME}");
                format!(
                    "another process has the name {NAME} on the {which} bus; when it leaves, it is ours"
                )
            }
        };
        self.standing.send_replace(standing);
        Ok(())
    }
}

/// What happens to jobs, how far they are no oftener than it is told.
fn subscribe(bus: &Bus) -> Subscription {
    let patterns = ["job/*/state", "job/*/progress"];
    let patterns: Vec<Pattern> = patterns.iter().filter_map(|it| it.parse().ok()).collect();
    let options = QueueOptions {
        min_interval: coalesce::PACE,
        ..QueueOptions::default()
    };
    bus.subscribe(Filter::of(patterns), options)
}
