//! What reaches a host: the installed tree, the packages, the manual pages and the units.

#[cfg(test)]
mod debian;
#[cfg(test)]
mod installed;
#[cfg(test)]
mod manuals;
#[cfg(test)]
mod rpm;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod units;
