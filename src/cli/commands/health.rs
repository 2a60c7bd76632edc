//! `stoke health`

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::style::{Look, Tone};
use crate::cli::output::table;
use crate::cli::output::text::harmless;
use crate::wire::service::{Health, HealthView};
use std::process::ExitCode;

/// `stoke health`: status 1 where a part does not work.
pub async fn run(session: &Session) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let health = client.health().await?;
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
