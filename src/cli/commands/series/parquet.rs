//! Series as a Parquet file: one row for each point, with the columns of the CSV.

use crate::cli::output::series::{Line, lines};
use crate::wire::series::Series;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
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

/// The bytes of the file.
///
/// # Errors
/// What the library that writes it refuses.
pub(super) fn file(series: &[Series]) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build()))?;
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
    writer.close()?;
    Ok(bytes)
}

/// Writes the next column. What is absent is so in one that `may_lack` values, and in no other.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
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
    use std::io::Write;

    #[test]
    fn what_is_written_is_read_again() {
        let series = json!({"name": "host/cpu.percent", "unit": "percent", "points": [
            {"time": "2026-11-22T12:00:00.5Z", "last": 2.5, "min": 1.0, "max": 3.0, "mean": 2.0, "count": 3},
            {"time": "2026-11-22T12:00:02Z", "last": -1.0, "min": -1.0, "max": 3.0, "mean": 1.0, "count": 2, "p50": 0.5,
             "p95": 2.5, "p99": 3.0}]});
        let odd = json!({"name": "job/1/metric.ü", "points": []});
        let all: Vec<Series> = serde_json::from_value(json!([series, odd])).unwrap();
        let bytes = file(&all).unwrap();
        let mut whole = tempfile::tempfile().unwrap();
        whole.write_all(&bytes).unwrap();
        let reader = SerializedFileReader::new(whole).unwrap();
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
        assert!(!file(&[]).unwrap().is_empty());
    }
}
