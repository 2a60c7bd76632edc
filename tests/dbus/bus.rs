//! A bus of the test's own, a daemon on it, and a client of both.

use crate::harness::{Host, say_skipped};
use crate::http::PATIENCE;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tokio_stream::StreamExt;
use zbus::connection::Builder;
use zbus::fdo::{DBusProxy, MonitoringProxy};
use zbus::message::{Message, Type};
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant, Proxy, Variant};

pub(crate) const NAME: &str = "io.stoked.Stoked1";
pub(crate) const ROOT: &str = "/io/stoked/Stoked1";
pub(crate) const MANAGER: &str = "io.stoked.Stoked1.Manager";
pub(crate) const JOB: &str = "io.stoked.Stoked1.Job";

/// Messages that may wait until a test looks at them.
const MOST_WAITING: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

/// A dictionary of anything.
pub(crate) type Options = HashMap<String, OwnedVariant>;

/// Waits for something that comes, unless something is broken.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    let waited = tokio::time::timeout(PATIENCE, what).await;
    waited.expect("this should have happened by now")
}

/// A bus.
pub(crate) struct PrivateBus {
    root: TempDir,
    daemon: Option<Child>,
}

impl PrivateBus {
    /// A bus that serves; says aloud where there can be none.
    pub(crate) fn start() -> Option<Self> {
        let root = tempfile::Builder::new()
            .prefix("st.bus.")
            .tempdir_in("/tmp")
            .unwrap();
        let socket = root.path().join("bus");
        let config = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
            socket.display()
        );
        fs::write(root.path().join("bus.conf"), config).unwrap();
        let mut bus = Self { root, daemon: None };
        bus.serve().then_some(bus)
    }

    /// Starts it, again where it was stopped.
    pub(crate) fn serve(&mut self) -> bool {
        let config = self.root.path().join("bus.conf");
        let started = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut daemon) = started else {
            say_skipped("dbus-daemon is not here (package dbus)");
            return false;
        };
        // It prints its address when it listens.
        let mut line = String::new();
        let mut out = BufReader::new(daemon.stdout.take().unwrap());
        assert!(out.read_line(&mut line).unwrap() > 0, "it does not start");
        self.daemon = Some(daemon);
        true
    }

    /// SIGKILL.
    pub(crate) fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.root.path().join("bus").display())
    }

    pub(crate) async fn client(&self) -> Connection {
        let address = self.address();
        let builder = Builder::address(address.as_str()).method_timeout(PATIENCE);
        builder.build().await.unwrap()
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A daemon on a bus, and a client.
pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) client: Connection,
    pub(crate) bus: PrivateBus,
}

impl World {
    /// All of it, with the name claimed; nothing where there can be no bus.
    pub(crate) async fn start(config: &str) -> Option<Self> {
        Self::of(Host::prepare(config)).await
    }

    /// The same with a daemon that is not started yet.
    pub(crate) async fn of(mut host: Host) -> Option<Self> {
        let bus = PrivateBus::start()?;
        host.tell("DBUS_SESSION_BUS_ADDRESS", PathBuf::from(bus.address()));
        host.boot();
        let client = bus.client().await;
        has_name(&client).await;
        Some(Self { host, client, bus })
    }

    pub(crate) async fn manager(&self) -> Proxy<'static> {
        self.proxy(ROOT.to_owned(), MANAGER).await
    }

    pub(crate) async fn proxy(&self, path: String, interface: &'static str) -> Proxy<'static> {
        let client = self.client.clone();
        let proxy = zbus::proxy::Builder::<Proxy<'_>>::new(&client)
            .destination(NAME)
            .path(path)
            .interface(interface)
            .cache_properties(zbus::proxy::CacheProperties::No);
        proxy.build().await.unwrap()
    }

    /// Everything that is broadcast from now on.
    pub(crate) async fn signals(&self) -> MessageStream {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(NAME)
            .path_namespace(ROOT);
        let rule = rule.build().unwrap();
        // A client whose signals are not read gets no answers either, so that this is another one.
        let listener = self.bus.client().await;
        let stream = MessageStream::for_match_rule(rule, &listener, Some(MOST_WAITING));
        stream.await.unwrap()
    }

    /// Everything that the daemon sends from now on, to whomever.
    pub(crate) async fn monitor(&self) -> MessageStream {
        let daemon = DBusProxy::new(&self.client).await.unwrap();
        let daemon = daemon.get_name_owner(NAME.try_into().unwrap()).await;
        let daemon = daemon.unwrap().to_string();
        let mut connection = self.bus.client().await;
        connection.set_max_queued(MOST_WAITING);
        let monitoring = MonitoringProxy::new(&connection).await.unwrap();
        let rule = MatchRule::builder().sender(daemon.as_str());
        let stream = MessageStream::from(&connection);
        let rule = rule.build().unwrap();
        monitoring.become_monitor(&[rule], 0).await.unwrap();
        stream
    }

    /// A spec of a shell script.
    pub(crate) fn script(&self, script: &str) -> Options {
        let command = vec!["sh", "-c", script];
        let path = std::env::var("PATH").unwrap();
        let env = HashMap::from([("PATH", path.as_str())]);
        options(&[("command", command.into()), ("env", env.into())])
    }

    pub(crate) async fn submit(&self, spec: &Options) -> u32 {
        let manager = self.manager().await;
        let answer: (u32, zbus::OwnedObjectPath) = manager.call("Submit", &(spec,)).await.unwrap();
        assert_eq!(answer.1.as_str(), format!("{ROOT}/job/{}", answer.0));
        answer.0
    }
}

/// Waits until the daemon has its name.
pub(crate) async fn has_name(client: &Connection) {
    let bus = DBusProxy::new(client).await.unwrap();
    let mut changes = bus
        .receive_name_owner_changed_with_args(&[(0, NAME)])
        .await
        .unwrap();
    if bus.name_has_owner(NAME.try_into().unwrap()).await.unwrap() {
        return;
    }
    loop {
        let change = soon(changes.next()).await.unwrap();
        if change.args().unwrap().new_owner().is_some() {
            return;
        }
    }
}

pub(crate) fn options(pairs: &[(&str, Variant<'_>)]) -> Options {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), value.try_to_owned().unwrap()))
        .collect()
}

/// The name of a signal, with what it says.
pub(crate) fn told(message: &Message) -> String {
    let member = message.header().member().map(ToString::to_string);
    let body = message.body();
    let body = body.deserialize::<zbus::Structure<'_>>();
    format!("{} {:?}", member.unwrap_or_default(), body.ok())
}

/// The first message that is as wanted, and all before it.
pub(crate) async fn until(
    stream: &mut MessageStream,
    mut wanted: impl FnMut(&Message) -> bool,
) -> Vec<Message> {
    let mut seen = Vec::new();
    loop {
        let message = soon(stream.next()).await.unwrap().unwrap();
        let found = wanted(&message);
        seen.push(message);
        if found {
            return seen;
        }
    }
}

/// Whether a message is a signal that says that a job went into a state.
pub(crate) fn is_move(message: &Message, id: u32, state: &str) -> bool {
    let is_signal = message
        .header()
        .member()
        .is_some_and(|it| it.as_str() == "JobStateChanged");
    is_signal && {
        let body = message.body();
        let (job, _, new, _): (u32, String, String, u64) = body.deserialize().unwrap();
        job == id && new == state
    }
}

/// What a message says has changed, where it is about such an interface.
pub(crate) fn changed(message: &Message, interface: &str) -> Option<Options> {
    let header = message.header();
    if header.member()?.as_str() != "PropertiesChanged" {
        return None;
    }
    let body = message.body();
    let (of, changed, _): (String, Options, Vec<String>) = body.deserialize().unwrap();
    (of == interface).then_some(changed)
}
