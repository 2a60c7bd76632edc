//! The proof of the engine: simulation with faults, a naive reference model, tables, scale.

#[cfg(test)]
mod chance;
#[cfg(test)]
mod down;
#[cfg(test)]
mod eta;
#[cfg(test)]
mod found;
#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod props;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod table;
