//! `stoke health`

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::style::{Look, Tone};
use crate::cli::output::table;
use crate::cli::output::text::harmless;
use crate::wire::service::{API_LEVEL, Health, HealthView, VersionView};
use std::process::ExitCode;

/// `stoke health`: status 1 where a part does not work.
pub async fn run(session: &Session) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let health = client.health().await?;
    // What cannot be told apart needs no word; a daemon that is in trouble may not say its version.
    if let Ok(daemon) = client.version().await
        && let Some(advice) = other_version(&daemon)
        && !session.output.json
    {
        session.output.note(&harmless(&advice));
    }
    if session.output.json {
        session.output.json(&health)?;
    } else {
        session
            .output
            .print(&view(&health, &session.output.look()))?;
    }
    Ok(match health.health {
        Health::Healthy | Health::Degraded => ExitCode::SUCCESS,
        Health::Unhealthy => ExitCode::FAILURE,
    })
}

/// What to do where the daemon that runs is not of this client's version, as after an upgrade.
#[must_use]
pub fn other_version(daemon: &VersionView) -> Option<String> {
    let own = env!("CARGO_PKG_VERSION");
    let is_other = daemon.version != own || daemon.api_level != API_LEVEL;
    is_other.then(|| {
        let which = if daemon.api_level < API_LEVEL {
            "it is older, and refuses what is new: "
        } else {
            ""
        };
        format!(
            "the daemon that runs is of version {}, this client of {own}: {which}restart the daemon, running jobs do not notice",
            daemon.version
        )
    })
}

/// The parts of the daemon, one line each.
#[must_use]
pub fn view(health: &HealthView, look: &Look) -> String {
    let rows = health.components.iter().map(|part| {
        let (words, tone) = words(part.health);
        let message = part.message.as_deref().unwrap_or_default();
        vec![
            (Tone::Strong, harmless(&part.name).into_owned()),
            (tone, words.to_owned()),
            (Tone::Plain, harmless(message).into_owned()),
        ]
    });
    table::plain(&["PART", "HEALTH", "MESSAGE"], rows.collect(), look)
}

fn words(health: Health) -> (&'static str, Tone) {
    match health {
        Health::Healthy => ("✔ healthy", Tone::Good),
        Health::Degraded => ("! degraded", Tone::Waiting),
        Health::Unhealthy => ("✘ unhealthy", Tone::Bad),
    }
}
