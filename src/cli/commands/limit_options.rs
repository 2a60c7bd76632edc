//! Options that say what a job may use at most.

use crate::cli::values;
use crate::model::limits::{self, parse_numbers};
use crate::wire::limits::{ALL, GpusEdit, LimitsEdit, LimitsSubmit};
use crate::wire::request::JobSubmit;

/// Limits that the kernel keeps, where systemd starts the jobs.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Kill it when all its processes together take more memory than this: 8G, 500M
    #[arg(long, value_name = "SIZE", value_parser = values::byte_count)]
    pub memory_max: Option<u64>,
    /// Its share of CPU time beside others, 1 to 10000; 100 unless given
    #[arg(long, value_name = "WEIGHT")]
    pub cpu_weight: Option<u64>,
    /// Its share of what disks can do, 1 to 10000; 100 unless given
    #[arg(long, value_name = "WEIGHT")]
    pub io_weight: Option<u64>,
    /// Most processes and threads at once
    #[arg(long, value_name = "N")]
    pub tasks_max: Option<u64>,
    /// The CPUs that it may run on: 0-3,8
    #[arg(long, value_name = "CPUS")]
    pub allowed_cpus: Option<String>,
    /// The GPUs that it may open: 0,1; or none
    #[arg(long, value_name = "GPUS", value_parser = gpus)]
    pub allowed_gpus: Option<Gpus>,
}

/// Limits of a waiting job that change.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitChanges {
    /// Change how much memory all its processes may take together; 0 removes the limit
    #[arg(long, value_name = "SIZE", value_parser = size_or_none)]
    pub(super) memory_max: Option<u64>,
    /// Change its share of CPU time beside others, 1 to 10000; 0 makes it the usual one
    #[arg(long, value_name = "WEIGHT")]
    pub(super) cpu_weight: Option<u64>,
    /// Change its share of what disks can do, 1 to 10000; 0 makes it the usual one
    #[arg(long, value_name = "WEIGHT")]
    pub(super) io_weight: Option<u64>,
    /// Change how many processes and threads it may have at once; 0 removes the limit
    #[arg(long, value_name = "N")]
    pub(super) tasks_max: Option<u64>,
    /// Change the CPUs that it may run on: 0-3,8; all removes the limit
    #[arg(long, value_name = "CPUS")]
    pub(super) allowed_cpus: Option<String>,
    /// Change the GPUs that it may open: 0,1; or none; all removes the limit
    #[arg(long, value_name = "GPUS", value_parser = gpus_or_all)]
    pub(super) allowed_gpus: Option<GpusEdit>,
}

impl LimitChanges {
    /// The changes, where there are any.
    pub(super) fn edit(&self) -> Option<LimitsEdit> {
        let edit = LimitsEdit {
            memory_max_bytes: self.memory_max,
            cpu_weight: self.cpu_weight,
            io_weight: self.io_weight,
            tasks_max: self.tasks_max,
            allowed_cpus: self.allowed_cpus.clone(),
            gpus: self.allowed_gpus.clone(),
        };
        Some(edit).filter(|edit| *edit != LimitsEdit::default())
    }
}

/// Indices of GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus(Vec<u32>);

impl LimitOptions {
    /// `job` with these limits on top of those it has.
    pub(super) fn apply(&self, job: &mut JobSubmit) {
        let mut limits = job.limits.take().unwrap_or_default();
        limits.memory_max_bytes = self.memory_max.or(limits.memory_max_bytes);
        limits.cpu_weight = self.cpu_weight.or(limits.cpu_weight);
        limits.io_weight = self.io_weight.or(limits.io_weight);
        limits.tasks_max = self.tasks_max.or(limits.tasks_max);
        if self.allowed_cpus.is_some() {
            limits.allowed_cpus.clone_from(&self.allowed_cpus);
        }
        if let Some(Gpus(gpus)) = &self.allowed_gpus {
            limits.gpus = Some(gpus.clone());
        }
        job.limits = Some(limits).filter(|limits| *limits != LimitsSubmit::default());
    }
}

fn gpus(text: &str) -> Result<Gpus, String> {
    if text == "none" {
        return Ok(Gpus(Vec::new()));
    }
    let numbers = parse_numbers(text, limits::LAST_GPU);
    numbers
        .map(Gpus)
        .ok_or_else(|| format!("\"{text}\" names no GPUs: write 0,1 or none"))
}

fn gpus_or_all(text: &str) -> Result<GpusEdit, String> {
    if text == ALL {
        return Ok(GpusEdit::Word(ALL.to_owned()));
    }
    let named = gpus(text).map(|Gpus(gpus)| GpusEdit::Only(gpus));
    named.map_err(|why| format!("{why}, or all"))
}

fn size_or_none(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    values::byte_count(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        assert_eq!(LimitChanges::default().edit(), None);
        let changes = LimitChanges {
            memory_max: Some(0),
            allowed_gpus: gpus_or_all("all").ok(),
            ..LimitChanges::default()
        };
        let edit = serde_json::to_value(changes.edit()).unwrap();
        let wanted = serde_json::json!({"memory_max_bytes": 0, "gpus": "all"});
        assert_eq!(edit, wanted);
        assert_eq!(gpus_or_all("none"), Ok(GpusEdit::Only(Vec::new())));
        assert!(gpus_or_all("some").is_err());
    }

    #[test]
    fn gpus_are_named_by_index() {
        assert_eq!(gpus("1,0-1"), Ok(Gpus(vec![0, 1])));
        assert_eq!(gpus("none"), Ok(Gpus(Vec::new())));
        assert!(gpus("all").is_err());
    }

    #[test]
    fn what_is_given_counts_more_than_what_a_file_says() {
        let mut job = JobSubmit {
            limits: Some(LimitsSubmit {
                tasks_max: Some(9),
                cpu_weight: Some(50),
                ..LimitsSubmit::default()
            }),
            ..JobSubmit::default()
        };
        let options = LimitOptions {
            cpu_weight: Some(70),
            ..LimitOptions::default()
        };
        options.apply(&mut job);
        let limits = job.limits.take().unwrap();
        assert_eq!((limits.tasks_max, limits.cpu_weight), (Some(9), Some(70)));
        LimitOptions::default().apply(&mut job);
        assert_eq!(job.limits, None);
    }
}
