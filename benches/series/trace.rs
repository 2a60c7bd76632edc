//! Recordings of what was measured: one file, so that a number that was told can be told again.
//!
//! Text in a zstd frame, a line each: `e ENTITY METRIC…` names an entity and what is measured of it, by their names, and
//! stands before the first values; `p MS` begins a pass so long after the one before; `NUMBER VALUE…` gives the values of
//! the entity with that number, counted from 0, in the order of its metrics: what they differ by from the last ones, in
//! units of the smallest that is kept, `-` where there is none. What is not of this form is no recording.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use stoked::model::entity::Entity;
use stoked::model::id::AttemptId;
use stoked::model::metric::{Metric, Readings};
use stoked::model::sample::{HostSample, JobSample, Pass};
use stoked::model::time::Stamp;

/// More than any recording that is kept here.
const MOST_BYTES: usize = 64 << 20;

fn scale(metric: Metric) -> f64 {
    10_f64.powi(i32::from(metric.definition().decimals))
}

/// An entity in a recording.
struct Track {
    entity: Entity,
    metrics: Vec<Metric>,
    last: Vec<i64>,
}

/// Writes a recording.
#[derive(Default)]
pub(crate) struct Recorder {
    text: String,
    tracks: Vec<Track>,
    current: BTreeMap<Entity, usize>,
    before_ms: Option<i64>,
}

impl Recorder {
    /// Takes what is kept of a pass.
    pub(crate) fn take(&mut self, pass: &Pass) {
        let at_ms = pass.at.wall_ms;
        let after_ms = self.before_ms.map_or(0, |before| at_ms - before);
        self.before_ms = Some(at_ms);
        self.text += &format!("p {after_ms}\n");
        for (entity, readings) in pass.entities() {
            let readings: Readings = readings.iter().filter(|(it, _)| it.is_kept()).collect();
            if readings.is_empty() {
                continue;
            }
            let number = self.track(&entity, &readings);
            self.text += &number.to_string();
            let track = &mut self.tracks[number];
            for (metric, last) in track.metrics.iter().zip(&mut track.last) {
                match readings.get(*metric) {
                    Some(value) => {
                        let whole = (value * scale(*metric)).round() as i64;
                        self.text += &format!(" {}", whole - *last);
                        *last = whole;
                    }
                    None => self.text += " -",
                }
            }
            self.text.push('\n');
        }
    }

    /// The number of an entity that has all these metrics.
    fn track(&mut self, entity: &Entity, readings: &Readings) -> usize {
        let known = self.current.get(entity).copied();
        let mut metrics: Vec<Metric> =
            known.map_or_else(Vec::new, |number| self.tracks[number].metrics.clone());
        let before = metrics.len();
        metrics.extend(readings.iter().map(|(metric, _)| metric));
        metrics.sort_unstable();
        metrics.dedup();
        if let Some(known) = known.filter(|_| metrics.len() == before) {
            return known;
        }
        self.text += &format!("e {entity}");
        for metric in &metrics {
            self.text += &format!(" {metric}");
        }
        self.text.push('\n');
        self.tracks.push(Track {
            entity: entity.clone(),
            last: vec![0; metrics.len()],
            metrics,
        });
        self.current.insert(entity.clone(), self.tracks.len() - 1);
        self.tracks.len() - 1
    }

    /// Keeps it as a file; answers how long that is.
    pub(crate) fn keep(&self, path: &Path) -> usize {
        let packed = zstd::bulk::compress(self.text.as_bytes(), 19).expect("text can be packed");
        fs::write(path, &packed).expect("the file can be written");
        packed.len()
    }
}

/// The passes of a recording, the first one at `begin_ms`.
pub(crate) fn read(path: &Path, begin_ms: i64) -> Vec<Pass> {
    let packed =
        fs::read(path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
    let bytes = zstd::bulk::decompress(&packed, MOST_BYTES).expect("a recording is one zstd frame");
    let text = String::from_utf8(bytes).expect("a recording is text");
    let mut tracks: Vec<Track> = Vec::new();
    let mut passes = Vec::new();
    let mut measured = Vec::new();
    let mut at_ms = begin_ms;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let mut words = line.split(' ');
        match words.next() {
            Some("e") => tracks.push(named(words)),
            Some("p") => {
                at_ms += words
                    .next()
                    .and_then(|ms| ms.parse::<i64>().ok())
                    .expect("a time");
            }
            Some(number) => {
                let number: usize = number.parse().expect("the number of an entity");
                let track = &mut tracks[number];
                measured.push((track.entity.clone(), values(track, words)));
            }
            None => {}
        }
        if lines.peek().is_none_or(|next| next.starts_with("p ")) {
            passes.push(pass(at_ms, std::mem::take(&mut measured)));
        }
    }
    passes
}

fn named<'a>(mut words: impl Iterator<Item = &'a str>) -> Track {
    let entity = words
        .next()
        .and_then(|name| name.parse().ok())
        .expect("the name of an entity");
    // A metric that is no more would shift all that follow.
    let metrics: Vec<Metric> = words
        .map(|name| name.parse().expect("the name of a metric"))
        .collect();
    Track {
        entity,
        last: vec![0; metrics.len()],
        metrics,
    }
}

fn values<'a>(track: &mut Track, words: impl Iterator<Item = &'a str>) -> Readings {
    let mut readings = Readings::default();
    for ((word, metric), last) in words.zip(&track.metrics).zip(&mut track.last) {
        if word != "-" {
            *last += word.parse::<i64>().expect("a difference");
            readings.set(*metric, *last as f64 / scale(*metric));
        }
    }
    readings
}

/// What was measured at one time, as a sampler gives it. GPUs are not in recordings.
pub(crate) fn pass(at_ms: i64, measured: Vec<(Entity, Readings)>) -> Pass {
    let at = Stamp {
        wall_ms: at_ms,
        boot_ms: at_ms.unsigned_abs(),
    };
    let mut host = HostSample {
        at,
        ..HostSample::default()
    };
    let mut jobs = Vec::new();
    for (entity, readings) in measured {
        match entity {
            Entity::Host => host.readings = readings,
            Entity::Job(attempt) => jobs.push(Arc::new(job(at, attempt, readings))),
            part @ (Entity::Core(_)
            | Entity::Disk(_)
            | Entity::Net(_)
            | Entity::Mount(_)
            | Entity::Sensor(_)
            | Entity::Gpu(_)
            | Entity::JobGpu(..)) => host.parts.push((part, readings)),
        }
    }
    Pass {
        at,
        host: Some(Arc::new(host)),
        gpus: Vec::new(),
        jobs,
    }
}

fn job(at: Stamp, attempt: AttemptId, readings: Readings) -> JobSample {
    JobSample {
        at,
        attempt,
        readings,
        gpus: Vec::new(),
    }
}

/// The same so much later.
pub(crate) fn later(pass: &Pass, ms: i64) -> Pass {
    let mut pass = pass.clone();
    pass.at.wall_ms += ms;
    pass
}
