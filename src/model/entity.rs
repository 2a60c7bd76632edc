//! What a measured quantity is of, and what a series is called.

use crate::model::gpu::GpuUuid;
use crate::model::id::AttemptId;
use crate::model::metric::Metric;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// The host as a whole.
    Host,
    /// One of its cores, by number.
    Core(u32),
    /// One of its disks, by name.
    Disk(Arc<str>),
    /// One of its network interfaces, by name.
    Net(Arc<str>),
    /// One of its file systems, by where it is mounted.
    Mount(Arc<str>),
    /// One of its sensors, by chip and label.
    Sensor(Arc<str>),
    /// A GPU.
    Gpu(GpuUuid),
    /// An attempt of a job.
    Job(AttemptId),
    /// What an attempt uses of a GPU.
    JobGpu(AttemptId, GpuUuid),
}

/// Which series: what is measured of what. Written `host/cpu.percent`, `host/disk/sda/io.busy.percent`,
/// `gpu/UUID/power.watts`, `job/42.1/memory.bytes`, `job/42.1/gpu/UUID/utilization.percent`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// Of what.
    pub entity: Entity,
    /// What.
    pub metric: Metric,
}

/// A text that names nothing that could be measured.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotASeries {
    /// Its beginning names no entity.
    #[error("it begins with none of host, gpu/UUID and job/ID.ATTEMPT")]
    Entity,
    /// Its last part names no metric.
    #[error("it does not end with what is measured, as in cpu.percent")]
    Metric,
}

impl Entity {
    /// The attempt that it belongs to.
    #[must_use]
    pub fn attempt(&self) -> Option<AttemptId> {
        match self {
            Self::Job(attempt) | Self::JobGpu(attempt, _) => Some(*attempt),
            Self::Host
            | Self::Core(_)
            | Self::Disk(_)
            | Self::Net(_)
            | Self::Mount(_)
            | Self::Sensor(_)
            | Self::Gpu(_) => None,
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Core(core) => write!(f, "host/core/{core}"),
            Self::Disk(name) => write!(f, "host/disk/{}", Escaped(name)),
            Self::Net(name) => write!(f, "host/net/{}", Escaped(name)),
            Self::Mount(path) => write!(f, "host/mount/{}", Escaped(path)),
            Self::Sensor(name) => write!(f, "host/sensor/{}", Escaped(name)),
            Self::Gpu(uuid) => write!(f, "gpu/{}", Escaped(uuid.as_str())),
            Self::Job(attempt) => write!(f, "job/{attempt}"),
            Self::JobGpu(attempt, uuid) => {
                write!(f, "job/{attempt}/gpu/{}", Escaped(uuid.as_str()))
            }
        }
    }
}

impl FromStr for Entity {
    type Err = NotASeries;

    fn from_str(text: &str) -> Result<Self, NotASeries> {
        let parts: Vec<&str> = text.split('/').collect();
        let entity = match parts[..] {
            ["host"] => Some(Self::Host),
            ["host", "core", core] => core.parse().ok().map(Self::Core),
            ["host", "disk", name] => unescape(name).map(Self::Disk),
            ["host", "net", name] => unescape(name).map(Self::Net),
            ["host", "mount", path] => unescape(path).map(Self::Mount),
            ["host", "sensor", name] => unescape(name).map(Self::Sensor),
            ["gpu", uuid] => unescape(uuid).map(|it| Self::Gpu(GpuUuid(it))),
            ["job", attempt] => attempt.parse().ok().map(Self::Job),
            ["job", attempt, "gpu", uuid] => {
                let uuid = unescape(uuid).map(GpuUuid);
                attempt
                    .parse()
                    .ok()
                    .zip(uuid)
                    .map(|(it, uuid)| Self::JobGpu(it, uuid))
            }
            _ => None,
        };
        entity.ok_or(NotASeries::Entity)
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.entity, self.metric)
    }
}

impl FromStr for SeriesKey {
    type Err = NotASeries;

    fn from_str(text: &str) -> Result<Self, NotASeries> {
        let (entity, metric) = text.rsplit_once('/').ok_or(NotASeries::Entity)?;
        Ok(Self {
            entity: entity.parse()?,
            metric: metric.parse().map_err(|_| NotASeries::Metric)?,
        })
    }
}

/// A name as one part of a series' name: slashes, percent signs and what does not print as `%2F`.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c == '/' || c == '%' || c.is_control() || c.is_whitespace() {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    write!(f, "%{byte:02X}")?;
                }
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// A name from one part of a series' name; empty is no name.
fn unescape(part: &str) -> Option<Arc<str>> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::JobId;
    use proptest::prelude::*;

    fn entities() -> impl Strategy<Value = Entity> {
        let name = || "\\PC{1,12}|[a-z0-9/% ]{1,12}".prop_map(Arc::<str>::from);
        let attempt = || {
            (1_u64..1_000_000, 1_u32..100).prop_map(|(job, attempt)| AttemptId {
                job: JobId(job),
                attempt,
            })
        };
        prop_oneof![
            Just(Entity::Host),
            (0_u32..1024).prop_map(Entity::Core),
            name().prop_map(Entity::Disk),
            name().prop_map(Entity::Net),
            name().prop_map(Entity::Mount),
            name().prop_map(Entity::Sensor),
            name().prop_map(|uuid| Entity::Gpu(GpuUuid(uuid))),
            attempt().prop_map(Entity::Job),
            (attempt(), name()).prop_map(|(it, uuid)| Entity::JobGpu(it, GpuUuid(uuid))),
        ]
    }

    proptest! {
        #[test]
        fn names_read_back(entity in entities(), metric in prop::sample::select(Metric::ALL)) {
            let key = SeriesKey { entity, metric };
            let name = key.to_string();
            prop_assert!(!name.contains(' '));
            prop_assert_eq!(name.parse(), Ok(key));
        }
    }

    #[test]
    fn what_is_wrong_with_a_name_is_told() {
        for text in [
            "",
            "cpu.percent",
            "host/disk//io.busy.percent",
            "job/42/cpu.percent",
            "job/42.0/cpu.percent",
            "gpu/%4/power.watts",
        ] {
            assert_eq!(text.parse::<SeriesKey>(), Err(NotASeries::Entity), "{text}");
        }
        assert_eq!("host/cpu".parse::<SeriesKey>(), Err(NotASeries::Metric));
    }
}
