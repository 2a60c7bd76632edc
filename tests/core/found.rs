//! Stories that once went wrong, most of them told by the simulation. Each must end well for ever.

use crate::rig::{Rig, spec};
use stoked::model::state::StateName;

#[test]
fn a_timeout_beyond_the_end_of_time_never_comes() {
    let mut rig = Rig::new(1);
    let mut endless = spec();
    endless.timeout_ms = Some(u64::MAX);
    let id = rig.one(endless, &[]);
    rig.started(id);
    rig.pass(1_000_000);
    assert_eq!(rig.state(id), StateName::Running);
}
