//! The border of the control task: what it needs from the store, the bus and the supervisor.
