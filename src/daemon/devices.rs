//! The files in `/dev` that a program opens to use a GPU, so that a job may be given some GPUs and not others.

use crate::model::gpu::GpuIdentity;
use std::collections::BTreeSet;
use std::path::Path;

/// What every program needs that uses any of NVIDIA's GPUs.
const NVIDIA: [&str; 4] = [
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-modeset",
];

/// NVIDIA's devices that stand for parts of GPUs; a name of the kernel's list of devices.
const NVIDIA_PARTS: &str = "char-nvidia-caps";

/// What programs compute with on AMD's GPUs.
const AMD: &str = "/dev/kfd";

/// The devices of the GPUs of these indices, and no others; `root` is `/`.
///
/// # Errors
/// With a sentence, where there is no such GPU, or nothing in `/dev` that belongs to it.
pub(super) fn of(
    wanted: &[u32],
    known: &[GpuIdentity],
    root: &Path,
) -> Result<Vec<String>, String> {
    let mut devices = BTreeSet::new();
    for index in wanted {
        let mut found = known.iter().filter(|it| it.index == *index);
        let gpu = found.next().ok_or_else(|| {
            let there: Vec<String> = known.iter().map(|it| it.index.to_string()).collect();
            format!(
                "limits.gpus names GPU {index}, and there is none; there is {}",
                match there.is_empty() {
                    true => "no GPU".to_owned(),
                    false => there.join(", "),
                }
            )
        })?;
        let place = gpu.pci_bus_id.as_deref().unwrap_or_default();
        let own = match gpu.vendor.as_str() {
            "nvidia" => nvidia(place, root).into_iter().collect(),
            _ => rendering(place, root),
        };
        if own.is_empty() {
            return Err(format!("GPU {index} ({place}) has no file in /dev"));
        }
        devices.extend(own);
        match gpu.vendor.as_str() {
            "nvidia" => {
                devices.extend(NVIDIA.map(str::to_owned));
                devices.insert(NVIDIA_PARTS.to_owned());
            }
            "amd" => {
                devices.insert(AMD.to_owned());
            }
            _ => {}
        }
    }
    Ok(devices.into_iter().collect())
}

/// The file of one of NVIDIA's GPUs; the driver says which it is, since their numbers are not the indices.
fn nvidia(place: &str, root: &Path) -> Option<String> {
    let information = root.join(format!("proc/driver/nvidia/gpus/{place}/information"));
    let text = std::fs::read_to_string(information).ok()?;
    let number = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "Device Minor").then(|| value.trim().parse::<u32>().ok())?
    })?;
    Some(format!("/dev/nvidia{number}"))
}

/// The files that others draw and compute with.
fn rendering(place: &str, root: &Path) -> Vec<String> {
    let cards = std::fs::read_dir(root.join(format!("sys/bus/pci/devices/{place}/drm")));
    let names = cards.into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with("renderD") || name.starts_with("card"))
        .map(|name| format!("/dev/dri/{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpu::GpuUuid;

    fn gpu(index: u32, vendor: &str, place: &str) -> GpuIdentity {
        GpuIdentity {
            pci_bus_id: Some(place.to_owned()),
            ..GpuIdentity::new(
                GpuUuid(format!("GPU-{index}").into()),
                index,
                vendor,
                "Made",
            )
        }
    }

    fn host() -> (tempfile::TempDir, Vec<GpuIdentity>) {
        let root = tempfile::tempdir().unwrap();
        let nvidia = root.path().join("proc/driver/nvidia/gpus/0000:61:00.0");
        std::fs::create_dir_all(&nvidia).unwrap();
        let text =
            "Model: \t\t NVIDIA H200\nIRQ:   \t\t 100\nDevice Minor: \t 3\nGPU Excluded:\t No\n";
        std::fs::write(nvidia.join("information"), text).unwrap();
        let amd = root.path().join("sys/bus/pci/devices/0000:03:00.0/drm");
        for name in ["card1", "renderD129"] {
            std::fs::create_dir_all(amd.join(name)).unwrap();
        }
        let known = vec![
            gpu(0, "nvidia", "0000:61:00.0"),
            gpu(1, "amd", "0000:03:00.0"),
            gpu(2, "intel", "0000:00:02.0"),
        ];
        (root, known)
    }

    #[test]
    fn a_gpu_is_its_own_devices_and_those_that_all_share() {
        let (root, known) = host();
        let of = |wanted: &[u32]| of(wanted, &known, root.path());
        let nvidia = of(&[0]).unwrap();
        assert!(nvidia.contains(&"/dev/nvidia3".to_owned()));
        assert!(nvidia.contains(&"/dev/nvidiactl".to_owned()));
        assert!(!nvidia.iter().any(|it| it.starts_with("/dev/dri")));
        assert_eq!(
            of(&[1]).unwrap(),
            ["/dev/dri/card1", "/dev/dri/renderD129", "/dev/kfd"]
        );
        assert_eq!(of(&[]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_gpu_that_cannot_be_given_is_named() {
        let (root, known) = host();
        let error = of(&[7], &known, root.path()).unwrap_err();
        assert!(
            error.contains("names GPU 7") && error.contains("0, 1, 2"),
            "{error}"
        );
        assert!(of(&[2], &known, root.path()).unwrap_err().contains("GPU 2"));
        assert!(of(&[0], &[], root.path()).unwrap_err().contains("no GPU"));
    }
}
