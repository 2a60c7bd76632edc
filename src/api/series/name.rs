//! The names of series, as people write them: GPUs by index, jobs without their attempt.

use crate::api::call::harmless;
use crate::api::problem::{Failure, invalid};
use crate::model::curve::Quantity;
use crate::model::entity::{Entity, SeriesKey};
use crate::model::gpu::GpuUuid;
use crate::model::id::JobId;
use crate::model::metric::Metric;
use crate::model::sample::Snapshot;

/// A series, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeriesName {
    /// As it was written.
    pub(super) text: String,
    pub(super) of: Of,
}

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// What a job tells of itself.
    Own(JobId, Quantity),
    /// What was measured of something.
    Measured(Target, Metric),
}

/// Of what something was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Of one thing.
    One(Entity),
    /// Of all attempts of a job, one after the other; or of a GPU that they used.
    Job(JobId, Option<GpuUuid>),
}

impl SeriesName {
    /// Reads a name. `newest` knows which GPU has which index.
    pub(super) fn read(text: &str, newest: &Snapshot) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            let shown = harmless(text);
            invalid("name", format_args!("\"{shown}\" is no series: {why}"))
        };
        let named = |of| {
            let text = text.to_owned();
            Ok(Self { text, of })
        };
        let Some((entity, quantity)) = text.rsplit_once('/') else {
            return Err(refuse(
                "they are named as in host/cpu.percent or job/42/metric.loss",
            ));
        };
        let whole_job = entity.strip_prefix("job/").and_then(job);
        // A metric of a job may have slashes in its name.
        let own = text.strip_prefix("job/").and_then(|it| it.split_once('/'));
        if let Some((id, quantity)) = own
            && let Some(id) = job(id)
            && let Ok(quantity) = quantity.parse()
        {
            return named(Of::Own(id, quantity));
        }
        let metric = quantity.parse::<Metric>().map_err(|_| {
            if whole_job.is_some() {
                refuse("of a job there is percent, step, epoch, rate, eta_seconds, metric.NAME for every metric, and what it uses, as in cpu.percent")
            } else {
                refuse("it does not end with what is measured, as in cpu.percent")
            }
        })?;
        if let Some(id) = whole_job {
            return named(Of::Measured(Target::Job(id, None), metric));
        }
        match target(entity, newest) {
            Some(target) => named(Of::Measured(target, metric)),
            None => Err(refuse(
                "it begins with none of host, gpu/0, job/42 and job/42.1",
            )),
        }
    }
}

/// What somebody wants to see the series of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The host with all its devices.
    Host,
    /// A job with all its attempts.
    Job(JobId),
    /// One thing, with what is of it and something else.
    One(Entity),
}

impl Wanted {
    pub(super) fn read(text: &str, newest: &Snapshot) -> Result<Self, Failure> {
        if text == "host" {
            return Ok(Self::Host);
        }
        match target(text, newest) {
            Some(Target::One(entity)) => Ok(Self::One(entity)),
            Some(Target::Job(id, None)) => Ok(Self::Job(id)),
            Some(Target::Job(_, Some(_))) | None => {
                let shown = harmless(text);
                let why = format_args!(
                    "nothing is measured of \"{shown}\": name host, gpu/0, job/42 or job/42.1"
                );
                Err(invalid("entity", why))
            }
        }
    }

    /// Whether it covers an entity.
    pub(super) fn covers(&self, entity: &Entity) -> bool {
        let attempt = match entity {
            Entity::Job(attempt) | Entity::JobGpu(attempt, _) => Some(*attempt),
            Entity::Gpu(_) => None,
            Entity::Host
            | Entity::Core(_)
            | Entity::Disk(_)
            | Entity::Net(_)
            | Entity::Mount(_)
            | Entity::Sensor(_) => return matches!(self, Self::Host) || self.is(entity),
        };
        match (self, attempt) {
            (Self::Job(id), Some(attempt)) => attempt.job == *id,
            (Self::One(Entity::Job(wanted)), Some(attempt)) => attempt == *wanted,
            _ => self.is(entity),
        }
    }

    fn is(&self, entity: &Entity) -> bool {
        matches!(self, Self::One(wanted) if wanted == entity)
    }
}

fn job(text: &str) -> Option<JobId> {
    text.parse().ok().map(JobId)
}

/// What a name without its metric stands for.
fn target(text: &str, newest: &Snapshot) -> Option<Target> {
    let index = |name: &str| name.parse::<u32>().ok();
    // By its index, or by the beginning of its identity where only one begins so.
    let gpu = |name: &str| {
        let mut gpus = newest.gpus.iter().map(|gpu| &gpu.sample.identity);
        if let Some(index) = index(name) {
            return gpus
                .find(|gpu| gpu.index == index)
                .map(|it| it.uuid.clone());
        }
        let mut alike = gpus.filter(|gpu| gpu.uuid.as_str().starts_with(name));
        let found = alike.next().map(|gpu| gpu.uuid.clone());
        found.filter(|_| alike.next().is_none())
    };
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        ["job", id] if job(id).is_some() => job(id).map(|id| Target::Job(id, None)),
        ["gpu", name] if gpu(name).is_some() => {
            gpu(name).map(|uuid| Target::One(Entity::Gpu(uuid)))
        }
        // There is none of this number.
        ["gpu", name] | ["job", _, "gpu", name] if index(name).is_some() && gpu(name).is_none() => {
            None
        }
        ["job", id, "gpu", name] => {
            let uuid = gpu(name).or_else(|| uuid_of(name))?;
            match job(id) {
                Some(id) => Some(Target::Job(id, Some(uuid))),
                None => Some(Target::One(Entity::JobGpu(id.parse().ok()?, uuid))),
            }
        }
        _ => text.parse().ok().map(Target::One),
    }
}

/// An identity as it stands in a name.
fn uuid_of(name: &str) -> Option<GpuUuid> {
    let key: SeriesKey = format!("gpu/{name}/{}", Metric::PowerWatts).parse().ok()?;
    if let Entity::Gpu(uuid) = key.entity {
        Some(uuid)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Of {
        SeriesName::read(text, &Snapshot::default())
            .unwrap_or_else(|_| panic!("{text}"))
            .of
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        let loss = Quantity::Metric("eval/loss".to_owned());
        assert_eq!(of("job/42/metric.eval/loss"), Of::Own(JobId(42), loss));
        assert_eq!(of("job/42/percent"), Of::Own(JobId(42), Quantity::Percent));
        let whole = Target::Job(JobId(42), None);
        assert_eq!(
            of("job/42/cpu.percent"),
            Of::Measured(whole, Metric::CpuPercent)
        );
        let Of::Measured(Target::One(entity), _) = of("job/42.1/gpu/GPU-1/energy.joules") else {
            panic!()
        };
        assert_eq!(entity.to_string(), "job/42.1/gpu/GPU-1");
        let Of::Measured(Target::One(entity), _) = of("host/mount/%2Fhome/space.used.bytes") else {
            panic!()
        };
        assert_eq!(entity, Entity::Mount("/home".into()));
        for text in [
            "",
            "cpu.percent",
            "host/cpu",
            "job/x/cpu.percent",
            "job/1/cpu",
            "disk/sda/io.reads",
        ] {
            assert!(
                SeriesName::read(text, &Snapshot::default()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wanted_covers_what_belongs_to_it() {
        let wanted = |text: &str| {
            Wanted::read(text, &Snapshot::default()).unwrap_or_else(|_| panic!("{text}"))
        };
        let entity = |text: &str| text.parse::<Entity>().unwrap();
        assert!(wanted("host").covers(&entity("host/disk/sda")));
        assert!(!wanted("host").covers(&entity("gpu/GPU-1")));
        assert!(wanted("job/4").covers(&entity("job/4.2/gpu/GPU-1")));
        assert!(!wanted("job/4").covers(&entity("job/42.1")));
        assert!(wanted("job/4.2").covers(&entity("job/4.2/gpu/GPU-1")));
        assert!(!wanted("job/4.1").covers(&entity("job/4.2")));
        assert!(wanted("gpu/GPU-1").covers(&entity("gpu/GPU-1")));
    }
}
