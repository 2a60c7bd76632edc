//! Lines of the kernel's log: an error of a driver is read with what the line says of it, or the line is none.

use stoked::sampling::gpu::kernel_log::{bus_id, record, xid};

/// Every line is read as a record, and as the text of one.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        let texts = [Some(line), record(line).map(|record| record.text)];
        for found in texts.into_iter().flatten().filter_map(|text| xid(text, 7)) {
            let place = found.pci_bus_id.expect("an error has a place");
            assert_eq!(
                bus_id(&place),
                Some(place.clone()),
                "a place is written one way"
            );
            assert!(found.pid.is_none_or(|pid| pid > 0));
            assert!(found.process.is_none_or(|name| name.chars().count() <= 64));
            assert!(found.uuid.is_none(), "the kernel knows none");
        }
    }
}
