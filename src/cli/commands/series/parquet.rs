//! Series as a Parquet file: one row for each point, with the columns of the CSV.

use crate::cli::error::CliError;
use crate::cli::output::series::{Line, lines};
use crate::wire::series::Series;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SCHEMA: &str = "message points {
    required binary name (UTF8);
    optional binary unit (UTF8);
    required int64 time (TIMESTAMP(MICROS, true));
    required double last;
    required double min;
    required double max;
    required double mean;
    required int64 count;
    optional double p50;
    optional double p95;
    optional double p99;
}";

/// Rows of a group: so many are in memory before they are written.
const GROUP: usize = 50_000;

/// A file that grows.
pub(super) struct Sheet {
    path: PathBuf,
    writer: SerializedFileWriter<File>,
    /// What is in no group yet.
    waiting: Vec<Series>,
    rows: usize,
    names: BTreeSet<String>,
    points: usize,
}

impl Sheet {
    /// Begins a file.
    pub(super) fn begin(path: &Path) -> Result<Self, CliError> {
        let file = File::create(path).map_err(|error| failed(path, &error))?;
        let begin = || {
            let schema = Arc::new(parse_message_type(SCHEMA)?);
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
            SerializedFileWriter::new(file, schema, Arc::new(properties.build()))
        };
        Ok(Self {
            path: path.to_owned(),
            writer: begin().map_err(|error| failed(path, &error))?,
            waiting: Vec::new(),
            rows: 0,
            names: BTreeSet::new(),
            points: 0,
        })
    }

    /// Adds points, behind those that are there.
    pub(super) fn add(&mut self, series: &[Series]) -> Result<(), CliError> {
        for one in series {
            self.names.insert(one.name.clone());
            self.points += one.points.len();
            self.rows += one.points.len();
            self.waiting.push(one.clone());
        }
        if self.rows >= GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    /// Ends the file, and says what is in it.
    pub(super) fn end(mut self) -> Result<String, CliError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        let closed = self.writer.close();
        closed.map_err(|error| failed(&self.path, &error))?;
        Ok(format!(
            "{} points of {} series are in {}",
            self.points,
            self.names.len(),
            self.path.display()
        ))
    }

    fn write_group(&mut self) -> Result<(), CliError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.rows = 0;
        let written = group(&mut self.writer, &waiting);
        written.map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &dyn Error) -> CliError {
    CliError::failed(format!("write {}", path.display()), error)
}

/// Writes points as the next group of rows.
fn group(writer: &mut SerializedFileWriter<File>, series: &[Series]) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    let rows: Vec<Line<'_>> = lines(series).collect();
    let all = || rows.iter();
    let text = |text: &str| ByteArray::from(text);
    column::<ByteArrayType>(&mut group, all().map(|it| Some(text(it.name))), false)?;
    column::<ByteArrayType>(&mut group, all().map(|it| it.unit.map(text)), true)?;
    let times = all().map(|it| Some(it.point.time.as_microsecond()));
    column::<Int64Type>(&mut group, times, false)?;
    column::<DoubleType>(&mut group, all().map(|it| Some(it.point.last)), false)?;
    column::<DoubleType>(&mut group, all().map(|it| Some(it.point.min)), false)?;
    column::<DoubleType>(&mut group, all().map(|it| Some(it.point.max)), false)?;
    column::<DoubleType>(&mut group, all().map(|it| Some(it.point.mean)), false)?;
    let counts = all().map(|it| i64::try_from(it.point.count).ok().or(Some(i64::MAX)));
    column::<Int64Type>(&mut group, counts, false)?;
    column::<DoubleType>(&mut group, all().map(|it| it.point.p50), true)?;
    column::<DoubleType>(&mut group, all().map(|it| it.point.p95), true)?;
    column::<DoubleType>(&mut group, all().map(|it| it.point.p99), true)?;
    group.close()?;
    Ok(())
}

/// Writes the next column. What is absent is so in one that `may_lack` values, and in no other.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: impl Iterator<Item = Option<T::T>>,
    may_lack: bool,
) -> Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = values.collect();
    let levels: Vec<i16> = values.iter().map(|it| i16::from(it.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    let Some(mut writer) = group.next_column()? else {
        return Err(ParquetError::General("a column too many".to_owned()));
    };
    let levels = may_lack.then_some(levels.as_slice());
    writer.typed::<T>().write_batch(&values, levels, None)?;
    writer.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    use serde_json::json;

    fn written(parts: &[&[Series]]) -> SerializedFileReader<File> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("points.parquet");
        let mut sheet = Sheet::begin(&path).unwrap();
        for part in parts {
            sheet.add(part).unwrap();
        }
        let said = sheet.end().unwrap();
        assert!(said.ends_with("points.parquet"), "{said}");
        SerializedFileReader::new(File::open(&path).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let series = json!({"name": "host/cpu.percent", "unit": "percent", "points": [
            {"time": "2026-11-22T12:00:00.5Z", "last": 2.5, "min": 1.0, "max": 3.0, "mean": 2.0, "count": 3},
            {"time": "2026-11-22T12:00:02Z", "last": -1.0, "min": -1.0, "max": 3.0, "mean": 1.0, "count": 2, "p50": 0.5,
             "p95": 2.5, "p99": 3.0}]});
        let odd = json!({"name": "job/1/metric.ü", "points": []});
        let all: Vec<Series> = serde_json::from_value(json!([series, odd])).unwrap();
        let reader = written(&[&all]);
        let rows: Vec<_> = reader
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].get_string(0).unwrap(), "host/cpu.percent");
        assert_eq!(
            rows[0].get_timestamp_micros(2).unwrap(),
            1_795_348_800_500_000
        );
        assert_eq!(rows[0].get_double(3).unwrap(), 2.5);
        assert!(rows[0].get_double(8).is_err(), "absent is not zero");
        assert_eq!(rows[1].get_double(9).unwrap(), 2.5);
        assert_eq!(rows[1].get_long(7).unwrap(), 2);
        assert_eq!(written(&[]).metadata().file_metadata().num_rows(), 0);
    }

    #[test]
    fn much_is_written_in_groups() {
        let part = |first: usize| -> Vec<Series> {
            let points = (first..first + 20_000).map(|at| {
                let time = jiff::Timestamp::from_millisecond(at as i64).unwrap();
                json!({"time": time, "last": at, "min": at, "max": at, "mean": at, "count": 1})
            });
            let points: Vec<_> = points.collect();
            serde_json::from_value(json!([{"name": "host/load.1", "points": points}])).unwrap()
        };
        let parts: Vec<Vec<Series>> = (0..4).map(|it| part(it * 20_000)).collect();
        let parts: Vec<&[Series]> = parts.iter().map(Vec::as_slice).collect();
        let reader = written(&parts);
        let groups = reader.metadata().row_groups().iter();
        let sizes: Vec<i64> = groups.map(|group| group.num_rows()).collect();
        assert_eq!(sizes, [60_000, 20_000]);
        let rows = reader.get_row_iter(None).unwrap();
        for (at, row) in rows.enumerate() {
            assert_eq!(row.unwrap().get_double(3).unwrap(), at as f64);
        }
    }
}
