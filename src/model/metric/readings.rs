//! What was measured of one thing at one time.

use super::Metric;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Values of metrics of one thing at one time. What could not be measured is not in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings(Vec<(Metric, f64)>);

impl Readings {
    /// Sets a value; one that is no number is left out, and takes away what was there.
    pub fn set(&mut self, metric: Metric, value: f64) {
        let place = self.0.binary_search_by_key(&metric, |(it, _)| *it);
        match place {
            Ok(place) if value.is_finite() => self.0[place].1 = value,
            Ok(place) => drop(self.0.remove(place)),
            Err(place) if value.is_finite() => self.0.insert(place, (metric, value)),
            Err(_) => {}
        }
    }

    /// Sets a value where there is one.
    pub fn set_if(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.set(metric, value);
        }
    }

    /// The value of a metric, where it was measured.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<f64> {
        let place = self.0.binary_search_by_key(&metric, |(it, _)| *it).ok()?;
        self.0.get(place).map(|(_, value)| *value)
    }

    /// Every value, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, f64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Metric, f64)> for Readings {
    fn from_iter<T: IntoIterator<Item = (Metric, f64)>>(values: T) -> Self {
        let mut readings = Self::default();
        for (metric, value) in values {
            readings.set(metric, value);
        }
        readings
    }
}

/// As an object with a field for each value: `{"power.watts": 250.0}`.
impl Serialize for Readings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(metric, value)| (metric.name(), value)))
    }
}

/// Metrics that this version does not know are passed over.
impl<'de> Deserialize<'de> for Readings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfMap)
    }
}

struct OfMap;

impl<'de> Visitor<'de> for OfMap {
    type Value = Readings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by metric")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Readings, M::Error> {
        let mut readings = Readings::default();
        while let Some((name, value)) = map.next_entry::<std::borrow::Cow<'de, str>, f64>()? {
            if let Ok(metric) = name.parse() {
                readings.set(metric, value);
            }
        }
        Ok(readings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_hold_numbers_only() {
        let mut readings = Readings::default();
        readings.set(Metric::PowerWatts, 250.0);
        readings.set(Metric::CpuPercent, 3.5);
        readings.set(Metric::FanPercent, f64::NAN);
        readings.set_if(Metric::Load1, None);
        let all: Vec<_> = readings.iter().collect();
        assert_eq!(
            all,
            [(Metric::CpuPercent, 3.5), (Metric::PowerWatts, 250.0)]
        );
        let text = serde_json::to_string(&readings).unwrap();
        assert_eq!(text, r#"{"cpu.percent":3.5,"power.watts":250.0}"#);
        let newer = text.replace('{', r#"{"of.a.newer.version":1,"#);
        assert_eq!(serde_json::from_str::<Readings>(&newer).unwrap(), readings);
        readings.set(Metric::PowerWatts, f64::INFINITY);
        assert_eq!(readings.get(Metric::PowerWatts), None);
    }
}
