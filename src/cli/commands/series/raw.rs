//! Everything that was measured, window by window: no answer is large, and none is kept once it is written.

use crate::cli::commands::series::SeriesArgs;
use crate::cli::error::CliError;
use crate::client::{Client, SeriesQuery};
use crate::wire::series::{Series, SeriesPoint};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Most points of a series that the daemon gives at once.
const MOST_POINTS: u32 = 10_000;

/// A window: of so many points each stands for a twentieth of a second, in which hardly anything is measured twice.
const WINDOW_MS: i64 = 500_000;

/// A window in which each stands for a millisecond: what was measured at two times is two points.
const FINEST_MS: i64 = 10_000;

/// The longest window while nothing is found.
const LONGEST_MS: i64 = 86_400_000;

/// Of what lives for ever, so much is written unless more is asked for, as the daemon has it.
const LATELY_MS: i64 = 3_600_000;

/// From one instant to another, both in it, milliseconds since 1970 UTC.
type Stretch = (i64, i64);

/// Hands all points of some series to `take`, in the order of time.
pub(super) async fn each(
    client: &Client,
    args: &SeriesArgs,
    names: Vec<String>,
    mut take: impl FnMut(&[Series]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let now_ms = Timestamp::now().as_millisecond();
    let mut stretches: BTreeMap<Stretch, Vec<String>> = BTreeMap::new();
    for name in names {
        let stretch = stretch_of(client, args, &name, now_ms).await?;
        stretches.entry(stretch).or_default().push(name);
    }
    for ((since_ms, until_ms), names) in stretches {
        let asked = Asked {
            client,
            names,
            percentiles: args.percentiles,
        };
        asked.each(since_ms, until_ms, &mut take).await?;
    }
    Ok(())
}

/// The time that is asked about: where it is not said, since a job began, and of everything else the last hour.
async fn stretch_of(
    client: &Client,
    args: &SeriesArgs,
    name: &str,
    now_ms: i64,
) -> Result<Stretch, CliError> {
    let mut since_ms = now_ms - LATELY_MS;
    if let Some(job) = job_of(name).filter(|_| args.since.is_none()) {
        let job = client.job(job).await?;
        let begin = job.attempts.iter().map(|it| it.claimed_at).min();
        since_ms = begin.unwrap_or(job.created_at).as_millisecond();
    }
    // The last of what a job told may come after its end.
    let said = |time: Option<Timestamp>, unless| time.map_or(unless, Timestamp::as_millisecond);
    Ok((said(args.since, since_ms), said(args.until, now_ms)))
}

/// The job that a series is of, where it is of one.
fn job_of(name: &str) -> Option<u64> {
    let (job, _) = name.strip_prefix("job/")?.split_once('/')?;
    job.split('.').next()?.parse().ok()
}

struct Asked<'a> {
    client: &'a Client,
    names: Vec<String>,
    percentiles: bool,
}

impl Asked<'_> {
    async fn each(
        &self,
        since_ms: i64,
        until_ms: i64,
        take: &mut impl FnMut(&[Series]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        if since_ms > until_ms {
            // The daemon says what is wrong with that.
            self.ask(since_ms, until_ms).await?;
        }
        let (mut from_ms, mut length_ms) = (since_ms, WINDOW_MS);
        while from_ms <= until_ms {
            let to_ms = from_ms.saturating_add(length_ms - 1).min(until_ms);
            let found = self.ask(from_ms, to_ms).await?;
            if found.iter().all(|series| series.points.is_empty()) {
                length_ms = (length_ms * 2).min(LONGEST_MS);
            } else if length_ms > WINDOW_MS {
                // It is that long because nothing was found before: now something is.
                length_ms = WINDOW_MS;
                continue;
            } else if are_together(&found) || self.is_finer_than(&found).await? {
                for piece_ms in (from_ms..=to_ms).step_by(FINEST_MS as usize) {
                    let end_ms = (piece_ms + FINEST_MS - 1).min(to_ms);
                    take(&self.ask(piece_ms, end_ms).await?)?;
                }
            } else {
                take(&found)?;
            }
            from_ms = to_ms.saturating_add(1);
        }
        Ok(())
    }

    /// Whether a point of several values is several points, looked at as closely as can be: what is kept by the minute or
    /// by the hour alone is not.
    async fn is_finer_than(&self, found: &[Series]) -> Result<bool, CliError> {
        let many = found.iter().enumerate().find_map(|(place, series)| {
            let point = series.points.iter().find(|point| point.count > 1)?;
            Some((place, point.time.as_millisecond()))
        });
        let Some((place, at_ms)) = many else {
            return Ok(false);
        };
        let from_ms = at_ms - FINEST_MS / 2;
        let closely = self.ask(from_ms, from_ms + FINEST_MS - 1).await?;
        let points = closely.get(place).map(|series| &series.points);
        Ok(points.is_some_and(|points| points.iter().all(|point| point.count == 1)))
    }

    async fn ask(&self, from_ms: i64, to_ms: i64) -> Result<Vec<Series>, CliError> {
        let time = |at_ms| Timestamp::from_millisecond(at_ms).ok();
        let query = SeriesQuery {
            names: self.names.clone(),
            since: time(from_ms),
            until: time(to_ms),
            points: Some(MOST_POINTS),
            percentiles: self.percentiles,
        };
        Ok(self.client.query_series(&query).await?.items)
    }
}

/// Whether values were surely put together because they were measured so soon after each other: what is kept by the
/// minute or by the hour alone has points of many values as well, but farther apart.
fn are_together(found: &[Series]) -> bool {
    let are_near = |one: &SeriesPoint, other: &SeriesPoint| {
        let apart_ms = other.time.as_millisecond() - one.time.as_millisecond();
        apart_ms < FINEST_MS && one.count.max(other.count) > 1
    };
    found.iter().any(|series| {
        let mut pairs = series.points.windows(2);
        pairs.any(|pair| matches!(pair, [one, other] if are_near(one, other)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_is_known_by_the_name_of_its_series() {
        assert_eq!(job_of("job/42/percent"), Some(42));
        assert_eq!(job_of("job/42.3/cpu.percent"), Some(42));
        assert_eq!(job_of("job/42/metric.a/b"), Some(42));
        assert_eq!(job_of("host/cpu.percent"), None);
        assert_eq!(job_of("gpu/0/power.watts"), None);
    }

    #[test]
    fn what_is_kept_by_the_minute_is_not_what_was_put_together() {
        let series = |times: &[(&str, u64)]| -> Vec<Series> {
            let points = times.iter().map(|(time, count)| {
                json!({"time": format!("2026-11-22T12:{time}Z"), "last": 1, "min": 1, "max": 1, "mean": 1, "count": count})
            });
            let points: Vec<_> = points.collect();
            serde_json::from_value(json!([{"name": "host/load.1", "points": points}])).unwrap()
        };
        assert!(!are_together(&series(&[("00:00.1", 1), ("00:00.2", 1)])));
        assert!(!are_together(&series(&[
            ("00:58", 30),
            ("01:58", 30),
            ("02:58", 30)
        ])));
        assert!(are_together(&series(&[("00:00.1", 1), ("00:00.2", 2)])));
    }
}
