//! Network interfaces: the physical ones, bonds and bridges, or those that were named; never one per container.

use std::path::{Path, PathBuf};

use crate::model::entity::Entity;
use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::fields::{lines, name, number, words};
use crate::sampling::files::{Files, Roots, Source};
use crate::sampling::rates::Meter;

use super::{Parts, Settings};

/// A line of `/proc/net/dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetLine<'a> {
    /// The interface.
    pub name: &'a [u8],
    /// Bytes received.
    pub received: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets damaged or thrown away, in both directions.
    pub errors: u64,
}

impl<'a> NetLine<'a> {
    /// Reads a line; the two lines above the interfaces are none.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        // An alias may have a colon in its name, and old kernels write no space after the last one.
        let colon = line.iter().rposition(|&byte| byte == b':')?;
        let mut words = words(&line[colon + 1..]);
        let mut counts = [0; 12];
        for count in &mut counts {
            *count = number(words.next()?)?;
        }
        let [
            received,
            packets_received,
            receive_errors,
            receive_drops,
            _,
            _,
            _,
            _,
            sent,
            packets_sent,
            send_errors,
            send_drops,
        ] = counts;
        let name = line[..colon].trim_ascii();
        (!name.is_empty()).then_some(Self {
            name,
            received,
            packets_received,
            sent,
            packets_sent,
            errors: receive_errors
                .saturating_add(receive_drops)
                .saturating_add(send_errors)
                .saturating_add(send_drops),
        })
    }
}

/// What an interface is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A device.
    Physical,
    /// Made of devices.
    Bond,
    /// Between others.
    Bridge,
    /// It was named.
    Named,
    /// Anything else: shown where there is nothing better, as inside a container.
    Other,
    /// To itself.
    Loopback,
}

#[derive(Debug)]
struct Interface {
    name: Vec<u8>,
    kind: Kind,
    entity: Entity,
    received: Meter,
    sent: Meter,
    packets_received: Meter,
    packets_sent: Meter,
}

/// Reads `/proc/net/dev`.
#[derive(Debug)]
pub(super) struct Networks {
    dev: Source,
    class: PathBuf,
    named: Vec<String>,
    most: usize,
    interfaces: Vec<Interface>,
}

impl Networks {
    pub(super) fn new(roots: &Roots, settings: &Settings) -> Self {
        Self {
            dev: roots.proc("net/dev"),
            class: roots.sys.join("class/net"),
            named: settings.interfaces.clone(),
            most: settings.most_parts,
            interfaces: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, files: &mut Files, at: Stamp, to: &mut Parts) {
        let Ok(text) = files.read(&mut self.dev) else {
            self.interfaces.clear();
            return;
        };
        let mut seen = Vec::with_capacity(self.interfaces.len());
        for line in lines(text).filter_map(NetLine::parse) {
            let next = seen.len();
            let place = self.place_of(next, line.name);
            self.interfaces.swap(place, next);
            seen.push(line);
        }
        self.interfaces.truncate(seen.len());
        // The best kinds that there are; bonds and bridges go with the physical ones.
        let kinds = self.interfaces.iter().map(|interface| interface.kind);
        let last = match kinds.min() {
            Some(Kind::Physical | Kind::Bond | Kind::Bridge) => Kind::Bridge,
            Some(kind @ (Kind::Named | Kind::Other)) => kind,
            Some(Kind::Loopback) | None => return,
        };
        self.tell(&seen, last, at, to);
    }

    /// Interfaces keep the order of the file, which hardly ever changes.
    fn place_of(&mut self, here: usize, name: &[u8]) -> usize {
        let after = self.interfaces.get(here..).unwrap_or_default();
        if let Some(ahead) = after.iter().position(|it| it.name == name) {
            return here + ahead;
        }
        let interface = recognise(&self.class, name, &self.named);
        self.interfaces.push(interface);
        self.interfaces.len() - 1
    }

    fn tell(&mut self, lines: &[NetLine<'_>], last: Kind, at: Stamp, to: &mut Parts) {
        let mut told = 0;
        let mut rates: Option<(f64, f64)> = None;
        let mut totals: Option<(u64, u64)> = None;
        // What goes through a bridge or a bond goes through a device as well.
        let counted = if last == Kind::Bridge {
            Kind::Physical
        } else {
            last
        };
        for kind in [
            Kind::Physical,
            Kind::Bond,
            Kind::Bridge,
            Kind::Named,
            Kind::Other,
        ] {
            for (interface, line) in self.interfaces.iter_mut().zip(lines) {
                if interface.kind != kind || kind > last || told >= self.most {
                    continue;
                }
                told += 1;
                let readings = interface.tell(line, at);
                if kind == counted {
                    let (received, sent) = totals.unwrap_or_default();
                    totals = Some((
                        received.saturating_add(line.received),
                        sent.saturating_add(line.sent),
                    ));
                    let both = readings
                        .get(Metric::NetReceiveBytesPerSecond)
                        .zip(readings.get(Metric::NetTransmitBytesPerSecond));
                    if let Some((more_received, more_sent)) = both {
                        let (received, sent) = rates.unwrap_or_default();
                        rates = Some((received + more_received, sent + more_sent));
                    }
                }
                to.parts.push((interface.entity.clone(), readings));
            }
        }
        if let Some((received, sent)) = totals {
            to.host.set(Metric::NetReceiveBytes, received as f64);
            to.host.set(Metric::NetTransmitBytes, sent as f64);
        }
        if let Some((received, sent)) = rates {
            to.host.set(Metric::NetReceiveBytesPerSecond, received);
            to.host.set(Metric::NetTransmitBytesPerSecond, sent);
        }
    }
}

fn recognise(class: &Path, device: &[u8], named: &[String]) -> Interface {
    let called = name(device);
    let dir = class.join(&called);
    let kind = if !named.is_empty() {
        match named.contains(&called) {
            true => Kind::Named,
            // Nothing but what was named is wanted.
            false => Kind::Loopback,
        }
    } else if called == "lo" {
        Kind::Loopback
    } else if dir.join("device").exists() {
        Kind::Physical
    } else if dir.join("bonding").exists() {
        Kind::Bond
    } else if dir.join("bridge").exists() {
        Kind::Bridge
    } else {
        Kind::Other
    };
    Interface {
        name: device.to_vec(),
        kind,
        entity: Entity::Net(called.into()),
        received: Meter::default(),
        sent: Meter::default(),
        packets_received: Meter::default(),
        packets_sent: Meter::default(),
    }
}

impl Interface {
    fn tell(&mut self, line: &NetLine<'_>, at: Stamp) -> Readings {
        let mut to = Readings::default();
        to.set(Metric::NetReceiveBytes, line.received as f64);
        to.set(Metric::NetTransmitBytes, line.sent as f64);
        to.set(Metric::NetErrors, line.errors as f64);
        let rate = self.received.per_second(line.received, at);
        to.set_if(Metric::NetReceiveBytesPerSecond, rate);
        let rate = self.sent.per_second(line.sent, at);
        to.set_if(Metric::NetTransmitBytesPerSecond, rate);
        to.set(Metric::NetReceivePackets, line.packets_received as f64);
        to.set(Metric::NetTransmitPackets, line.packets_sent as f64);
        let rate = self.packets_received.per_second(line.packets_received, at);
        to.set_if(Metric::NetReceivePacketsPerSecond, rate);
        let rate = self.packets_sent.per_second(line.packets_sent, at);
        to.set_if(Metric::NetTransmitPacketsPerSecond, rate);
        to
    }
}
