//! What is said of GPUs that cannot be looked at while others can.

use crate::model::gpu::{GpuCondition, GpuSample};
use crate::sampling::gpu::talk::Spot;

/// The same GPUs after a call about one of them did not return: of the others nothing is known of this pass.
pub(super) fn silenced(gpus: Vec<GpuSample>, spot: &Spot) -> Vec<GpuSample> {
    let at_spot = gpus.iter().find(|gpu| spot.is_of(&gpu.identity));
    let uuid = at_spot.map(|gpu| gpu.identity.uuid.clone());
    let gpus = gpus.into_iter().map(|gpu| {
        let identity = &gpu.identity;
        let is_there =
            uuid.is_some() && [&Some(identity.uuid.clone()), &identity.part_of].contains(&&uuid);
        let condition = if is_there {
            GpuCondition::Unresponsive
        } else {
            gpu.condition
        };
        GpuSample::unmeasured(gpu.identity, condition)
    });
    gpus.collect()
}

/// What is wrong with each, completing "failed to". `left_out` are not asked; of some nothing else may be known.
pub(super) fn troubles(gpus: &[GpuSample], left_out: Vec<Spot>) -> Vec<String> {
    let mut troubles: Vec<String> = gpus.iter().filter_map(trouble).collect();
    let unknown = left_out.into_iter();
    let unknown = unknown.filter(|spot| !gpus.iter().any(|gpu| spot.is_of(&gpu.identity)));
    troubles.extend(unknown.map(|spot| format!("hear from {spot}: it does not answer")));
    troubles
}

fn trouble(gpu: &GpuSample) -> Option<String> {
    let (index, uuid) = (gpu.identity.index, &gpu.identity.uuid.0);
    match gpu.condition {
        GpuCondition::Ok | GpuCondition::Asleep => None,
        GpuCondition::Unresponsive => Some(format!(
            "hear from GPU {index} ({uuid}): it does not answer, and is asked again now and then"
        )),
        GpuCondition::Lost => Some(format!(
            "reach GPU {index} ({uuid}): it fell off the bus or needs a reset; see the kernel's log, then reset it or reboot"
        )),
    }
}

/// Tells the log which of them fail since the look before, and which do no more.
pub(super) fn log_changes(before: &[GpuSample], now: &[GpuSample]) {
    for gpu in now {
        let mut known = before.iter();
        let known = known.find(|it| it.identity.uuid == gpu.identity.uuid);
        match (known.and_then(trouble), trouble(gpu)) {
            (Some(_), None) => tracing::info!("GPU {} answers again", gpu.identity.index),
            (was, Some(why)) if was.as_ref() != Some(&why) => tracing::warn!("failed to {why}"),
            (None | Some(_), None | Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpu::{GpuIdentity, GpuUuid};

    fn gpu(index: u32, part_of: Option<&str>) -> GpuSample {
        let uuid = part_of.map_or(format!("GPU-{index}"), |whole| format!("{whole}/{index}"));
        let identity = GpuIdentity {
            pci_bus_id: Some(format!("0000:0{index}:00.0")),
            part_of: part_of.map(|whole| GpuUuid(whole.into())),
            ..GpuIdentity::new(GpuUuid(uuid.into()), index, "nvidia", "Made")
        };
        GpuSample::unmeasured(identity, GpuCondition::Ok)
    }

    #[test]
    fn one_that_hangs_takes_its_parts_with_it_and_nobody_else() {
        let gpus = vec![
            gpu(0, None),
            gpu(1, None),
            gpu(2, Some("GPU-1")),
            gpu(3, None),
        ];
        for spot in [Spot::Index(1), Spot::Bus("0000:01:00.0".to_owned())] {
            let gpus = silenced(gpus.clone(), &spot);
            let conditions: Vec<_> = gpus.iter().map(|it| it.condition).collect();
            let (ok, silent) = (GpuCondition::Ok, GpuCondition::Unresponsive);
            assert_eq!(conditions, [ok, silent, silent, ok]);
            assert_eq!(troubles(&gpus, vec![spot]).len(), 2, "each is named once");
        }
        let unknown = troubles(&gpus, vec![Spot::Index(7)]);
        assert_eq!(unknown, ["hear from GPU 7: it does not answer"]);
    }
}
