//! Errors that the driver tells of while it runs (Xids): a thread for each GPU waits for them.
//!
//! One set of events per GPU, because a set is lost when one GPU refuses to be in it.

use super::Teller;
use crate::model::gpu::{GpuIdentity, Xid};
use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::event::EventSet;
use std::sync::Arc;
use std::thread::Builder;

/// Longest wait in the driver at a time.
const WAIT_MS: u32 = 5_000;

/// Number of an error that has none.
const UNKNOWN_XID: u32 = 999;

/// Waits for errors of this GPU from now on, where it tells of them, and says whether it does.
pub(super) fn listen(device: &Device<'static>, identity: &GpuIdentity, tell: &Teller) -> bool {
    let wanted = EventTypes::CRITICAL_XID_ERROR;
    let is_told = device
        .supported_event_types()
        .is_ok_and(|types| types.contains(wanted));
    if !is_told {
        return false;
    }
    let set = device.nvml().create_event_set();
    let Ok(Ok(set)) = set.map(|set| device.register_events(wanted, set)) else {
        return false;
    };
    let (identity, tell) = (identity.clone(), Arc::clone(tell));
    let thread = Builder::new()
        .name(format!("xids of {}", identity.index))
        .stack_size(256 * 1024);
    // Without a thread the kernel's log still tells. It ends with the process, or with the GPU.
    thread.spawn(move || wait(&set, &identity, &tell)).is_ok()
}

fn wait(set: &EventSet<'static>, identity: &GpuIdentity, tell: &Teller) {
    loop {
        match set.wait(WAIT_MS) {
            Ok(event) => {
                let code = match event.event_data {
                    Some(XidError::Value(code)) => u32::try_from(code).unwrap_or(UNKNOWN_XID),
                    Some(XidError::Unknown) => UNKNOWN_XID,
                    None => continue,
                };
                tell(Xid {
                    at_ms: crate::sampling::gpu::watch::wall_ms(),
                    uuid: Some(identity.uuid.clone()),
                    pci_bus_id: identity.pci_bus_id.clone(),
                    code,
                    pid: None,
                    process: None,
                });
            }
            Err(NvmlError::Timeout) => {}
            Err(_) => return,
        }
    }
}
