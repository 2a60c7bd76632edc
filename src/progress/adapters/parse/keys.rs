//! The keys of one table, each with its type; what is wrong with one is noted with its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Section, meant};

impl Section<'_, '_> {
    /// Notes that something is wrong with a key.
    pub(super) fn fault(&mut self, key: &str, what: impl Into<String>) {
        let (line, adapter) = (self.line, self.adapter.clone());
        self.file.problem(line, &adapter, key, what.into());
        self.is_good = false;
    }

    /// Faults from here on are at this value.
    pub(super) fn at(&mut self, value: &Spanned<DeValue<'_>>) {
        self.line = self.file.line(&value.span());
    }

    pub(super) fn check_keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            if !known.contains(&key) {
                self.at(value);
                self.fault(key, format!("there is no such key{}", meant(key, known)));
            }
        }
    }

    pub(super) fn get<'t, 'd>(
        &mut self,
        table: &'t DeTable<'d>,
        key: &str,
    ) -> Option<&'t DeValue<'d>> {
        let value = table.get(key)?;
        self.at(value);
        Some(value.get_ref())
    }

    pub(super) fn flag(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        let Some(value) = self.get(table, key) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            self.fault(key, "it is `true` or `false`");
            false
        })
    }

    pub(super) fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<String> {
        let text = self.get(table, key)?.as_str().map(str::to_owned);
        if text.is_none() {
            self.fault(key, "it is a text in quotes");
        }
        text
    }

    pub(super) fn texts(&mut self, table: &DeTable<'_>, key: &str) -> Vec<String> {
        let Some(value) = self.get(table, key) else {
            return Vec::new();
        };
        let texts = value.as_array().and_then(|values| {
            let texts = values.iter().map(|it| it.get_ref().as_str());
            texts.map(|it| it.map(str::to_owned)).collect()
        });
        texts.unwrap_or_else(|| {
            self.fault(key, "it is a list of texts, such as [\"rsync\"]");
            Vec::new()
        })
    }

    pub(super) fn scale(&mut self, table: &DeTable<'_>) -> Option<f64> {
        let scale = self.get(table, "scale")?.as_integer();
        match scale.map(|number| number.as_str()) {
            Some("1000") => Some(1000.0),
            Some("1024") => Some(1024.0),
            _ => {
                self.fault("scale", "it is 1000 or 1024");
                None
            }
        }
    }
}
