//! `stoke doctor`: what is in force here, and what to do about what is not. Starts nothing.

mod host;

use crate::cli::Session;
use crate::cli::commands::doctor::host::{Asker, Feature};
use crate::cli::commands::health;
use crate::cli::error::CliError;
use crate::cli::output::style::{Look, Tone};
use crate::cli::output::text::harmless;
use crate::cli::output::{Output, terminal_width};
use crate::cli::socket::daemon_program;
use crate::client::{Client, ClientError};
use crate::config::Settings;
use crate::config::load::{Sources, load};
use crate::config::paths::SYSTEM_CONFIG_DIR;
use crate::wire::service::{API_LEVEL, Health, HealthView, VersionView};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

/// Everything that was found out.
#[derive(Debug, Default, Serialize)]
struct Findings {
    client: String,
    sockets: Vec<SocketFinding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<VersionView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthView>,
    daemon_program: String,
    state_dir: String,
    terminal: String,
    host: Vec<Feature>,
    advice: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SocketFinding {
    path: String,
    why: String,
    answers: bool,
    finding: String,
}

/// `stoke doctor`: status 3 where no daemon answers, 1 where one is unhealthy.
pub async fn run(session: &Session) -> Result<ExitCode, CliError> {
    let mut findings = Findings {
        client: env!("CARGO_PKG_VERSION").to_owned(),
        daemon_program: daemon_program().display().to_string(),
        state_dir: match session.around.user_state_dir() {
            Ok(dir) => dir.display().to_string(),
            Err(error) => error.to_string(),
        },
        terminal: terminal(&session.output),
        ..Findings::default()
    };
    let client = look_for_sockets(session, &mut findings).await;
    if let Some(client) = &client {
        session.tell_when_waiting(client);
        findings.ask(client).await;
    }
    let user = std::env::var("USER").unwrap_or_default();
    let pam = configured_pam(session);
    let asker = Asker {
        root: Path::new("/"),
        pam: &pam,
        user: &user,
        is_own_daemon: findings.daemon.as_ref().is_none_or(|it| it.mode == "user"),
    };
    findings.host = asker.features();
    findings.advise(session);
    if session.output.json {
        session.output.json(&findings)?;
    } else {
        session
            .output
            .print(&findings.view(&session.output.look()))?;
    }
    Ok(match (&client, &findings.health) {
        (None, _) => ExitCode::from(crate::cli::error::Kind::NoDaemon.status()),
        (_, Some(health)) if health.health == Health::Unhealthy => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// What the files say that the daemon of the host reads.
fn configured_pam(session: &Session) -> String {
    let (state, runtime) = (
        session.around.system_state_dir(),
        session.around.system_runtime_dir(),
    );
    let defaults = Settings::of_system(&state, &runtime);
    let sources = Sources::of(defaults, Path::new(SYSTEM_CONFIG_DIR));
    load(&sources).map_or_else(|_| String::new(), |loaded| loaded.settings.jobs.pam)
}

/// The first socket that answers is the one every other command would use.
async fn look_for_sockets(session: &Session, findings: &mut Findings) -> Option<Client> {
    let mut first = None;
    for candidate in &session.plan.candidates {
        let answer = candidate.connect(None).await;
        findings.sockets.push(SocketFinding {
            path: candidate.socket.display().to_string(),
            why: candidate.why.to_owned(),
            answers: answer.is_ok(),
            finding: match &answer {
                Ok(_) if first.is_none() => "answers, and is used".to_owned(),
                Ok(_) => "answers".to_owned(),
                Err(ClientError::NoDaemon { why, .. }) => why.to_string(),
                Err(error) => error.to_string(),
            },
        });
        first = first.or(answer.ok());
    }
    first
}

fn terminal(output: &Output) -> String {
    let look = output.look();
    let is_terminal = std::io::stdout().is_terminal();
    let width = terminal_width(std::io::stdout());
    let colour = if look.colour { "colours" } else { "no colours" };
    match (is_terminal, width) {
        (true, Some(width)) => format!("{width} columns, {colour}"),
        (true, None) => format!("of unknown width, {colour}"),
        (false, _) => format!("none, {colour}"),
    }
}

impl Findings {
    async fn ask(&mut self, client: &Client) {
        match client.version().await {
            Ok(version) => self.daemon = Some(version),
            Err(error) => self
                .advice
                .push(format!("the daemon does not say its version: {error}")),
        }
        match client.health().await {
            Ok(health) => self.health = Some(health),
            Err(error) => self
                .advice
                .push(format!("the daemon does not say how it is: {error}")),
        }
    }

    fn advise(&mut self, session: &Session) {
        if self.sockets.iter().all(|socket| !socket.answers) {
            self.advice.push(if session.plan.start_in.is_some() {
                "no daemon runs: the next `stoke run` or `stoke ls` starts one of your own"
                    .to_owned()
            } else {
                "no daemon answers at the socket you named, and for a named one none is started"
                    .to_owned()
            });
        }
        let advice = self.daemon.as_ref().and_then(health::other_version);
        self.advice.extend(advice);
        let parts = self.health.iter().flat_map(|health| &health.components);
        let ill = parts.filter(|part| part.health != Health::Healthy);
        let advice: Vec<_> = ill
            .map(|part| {
                format!(
                    "look at {}: {}",
                    part.name,
                    part.message.as_deref().unwrap_or("no details")
                )
            })
            .collect();
        self.advice.extend(advice);
    }

    fn view(&self, look: &Look) -> String {
        let mut out = String::new();
        let mut field = |label: &str, text: &str| {
            let label = look.paint(Tone::Faint, &format!("{label:10}"));
            out += &format!("{label} {}\n", harmless(text));
        };
        field(
            "Client",
            &format!("stoke {}, API level {API_LEVEL}", self.client),
        );
        match &self.daemon {
            Some(it) => field(
                "Daemon",
                &format!(
                    "stoked {}, API level {}, {} daemon, pid {}",
                    it.version, it.api_level, it.mode, it.pid
                ),
            ),
            None => field("Daemon", "none"),
        }
        for socket in &self.sockets {
            let text = format!("{} ({}): {}", socket.path, socket.why, socket.finding);
            field("Socket", &text);
        }
        field("Program", &self.daemon_program);
        field("State", &self.state_dir);
        field("Terminal", &self.terminal);
        out += "\n";
        out += &host_view(&self.host, look);
        if let Some(health) = &self.health {
            out += "\n";
            out += &health::view(health, look);
        }
        if !self.advice.is_empty() {
            out += "\n";
        }
        for advice in &self.advice {
            out += &format!(
                "{} {}\n",
                look.paint(Tone::Waiting, "advice:"),
                harmless(advice)
            );
        }
        out
    }
}

/// What the host has and has not, a line each, and how to get what it has not.
fn host_view(features: &[Feature], look: &Look) -> String {
    let mut out = String::new();
    for feature in features {
        let (mark, tone) = match feature.is_there {
            true => ("✔", Tone::Good),
            false => ("○", Tone::Waiting),
        };
        let name = look.paint(Tone::Faint, &format!("{:10}", feature.name));
        out += &format!(
            "{name} {} {}",
            look.paint(tone, mark),
            harmless(&feature.finding)
        );
        if let Some(how) = feature.how {
            out += &format!(" ({how})");
        }
        out.push('\n');
    }
    out
}
