//! The public contracts: the JSON of the socket API (v1) and the frames between daemon and shim.

pub mod shim;
